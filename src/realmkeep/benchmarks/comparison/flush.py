"""Changed players saved a second, in both fsync modes, and the event loop meanwhile.

All players change at the same moment, and the keeper saves them as in play. The contest measures the time from the first
queued write to the last durable one. The other ways write the same records and revisions; they neither encode nor guard.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from realmkeep.benchmarks.comparison.contest import ONE_BY_ONE, Measured, Way, compete, timed
from realmkeep.benchmarks.comparison.postgres_way import POSTGRES_SYNCHRONOUS, PostgresWay
from realmkeep.benchmarks.comparison.redis_ways import PIPELINE_PLAYERS, RedisPyWays, Saved
from realmkeep.benchmarks.comparison.replay import Replay
from realmkeep.benchmarks.comparison.results import NamedSpread, Part, spread
from realmkeep.benchmarks.comparison.sql_ways import SYNCHRONOUS, SqliteWay
from realmkeep.benchmarks.limit import packed_mset, send_all
from realmkeep.benchmarks.live_players import (
    FIRST_REVISION_US,
    HEARTBEAT_S,
    OTHER_PLAYERS,
    keys_of_player,
    log_in,
    opened_keeper,
    populate,
    started_server,
)
from realmkeep.benchmarks.slices import Slice, Tick, measured_slices, ticking
from realmkeep.clock import SystemClock
from realmkeep.config import KeeperConfig
from realmkeep.keeping import Session
from realmkeep.records import encode
from realmkeep.storage.embedded_config import Fsync
from realmkeep.storage.redis_chunk import CHUNK_TRANSACTIONS_MAX
from realmkeep.storage.redis_pipe import CHUNKS_IN_FLIGHT_MAX
from realmkeep.testing.servers import StoreServer
from realmkeep.testing.specification import SpecPlayer

if TYPE_CHECKING:
    from realmkeep.testing.postgres_server import PostgresServer

FSYNC_MODES: Final[tuple[Fsync, ...]] = ("always", "everysec")
IDLE_S: Final = 3.0
FLUSH_INTERVAL_S: Final = 1.0  # instead of 30 s, to save time; nothing else differs from play
POLL_S: Final = 0.001
PLAYERS_A_CHANGE: Final = 500  # changing all in one callback would block the loop
PLAYERS_A_TRANSACTION: Final = 64
CHUNKS: Final = f"up to {CHUNK_TRANSACTIONS_MAX} players each, {CHUNKS_IN_FLIGHT_MAX} in flight"
UNIT: Final = "players/s"


def measure_flush(
    *, players: int, rounds: int, directory: Path, postgres: "PostgresServer | None" = None
) -> tuple[Part, ...]:
    """Measure both fsync modes.

    Args:
        players: Number of players, at least 1; each has 14 items and a full op ring.
        rounds: At least 1.
        directory: The directory of the temporary files; the contest measures its disk.
        postgres: A server with the table of `started_postgres`, or None.

    Raises:
        StorageMisconfigured: There is no Valkey or Redis to start.
    """
    with started_server(directory, "everysec") as server, SqliteWay(server.directory) as sqlite:
        return asyncio.run(_measure(_Stores(server, sqlite, postgres), players, rounds))


class _Stores(NamedTuple):
    server: StoreServer
    sqlite: SqliteWay
    postgres: "PostgresServer | None"


async def _measure(stores: _Stores, players: int, rounds: int) -> tuple[Part, ...]:
    config = KeeperConfig(
        name="bench", flush_interval_s=FLUSH_INTERVAL_S, heartbeat_s=HEARTBEAT_S, lease_ttl_s=2 * HEARTBEAT_S
    )
    async with opened_keeper(stores.server.url, config) as (keeper, storage):
        await populate(storage, range(players))
        crowd = await log_in(keeper, range(players))
        keeper.gc.warmed_up()
        return tuple([await _FlushContest(stores, crowd, fsync).measure(rounds) for fsync in FSYNC_MODES])


class _FlushContest:
    """The flush of live players on one server, and the other ways."""

    def __init__(self, stores: _Stores, crowd: Sequence[Session[SpecPlayer]], fsync: Fsync) -> None:
        self._clock = SystemClock()
        self._server, self._sqlite = stores.server, stores.sqlite
        self._postgres_server, self._postgres = stores.postgres, None
        self._crowd = crowd
        self._fsync: Fsync = fsync
        self._redis = RedisPyWays(stores.server, 1)
        self._replay = Replay(stores.server, [key for each in crowd for key in (each.keys.record, each.keys.updated)])
        self._slices: list[list[Slice]] = []  # of each round, with the one that does not count
        self._late_s: list[list[float]] = []
        self._sent: list[Saved] = []

    async def measure(self, rounds: int) -> Part:
        """Measure every way, in turns."""
        await asyncio.to_thread(self._server.ask, "CONFIG", "SET", "appendfsync", self._fsync)
        self._sqlite.wait_for_the_disk(self._fsync)
        self._sent = [_saved(number, session) for number, session in enumerate(self._crowd)]
        idle = Tick(self._clock)
        async with ticking(idle):
            await self._clock.sleep(IDLE_S)
        if self._postgres_server:
            self._postgres = await PostgresWay.open(self._postgres_server, 1, self._fsync)
        await self._replay.record(lambda: self._flush(Tick(self._clock)))
        figures = await compete(self._ways(), rounds)
        slices = [each for round_ in self._slices[1:] for each in round_]
        late_s = [each for round_ in self._late_s[1:] for each in round_]
        await self._redis.close()
        if self._postgres:
            await self._postgres.close()
        return Part(
            key=f"flush-{self._fsync}",
            title=f"Changed players saved, appendfsync {self._fsync}",
            work=f"{len(self._crowd):,} players, each a record of {len(self._sent[0][1])} bytes and its revision",
            figures=figures,
            spreads=(
                NamedSpread("slice-cpu", "slice of the event loop, processor", spread([each.cpu_s for each in slices])),
                NamedSpread("slice-wall", "slice of the event loop, wall", spread([each.wall_s for each in slices])),
                NamedSpread("tick", "lateness of a 20 Hz tick meanwhile", spread(late_s)),
                NamedSpread("tick-idle", "lateness of the tick in an idle process", spread(idle.late_s)),
            ),
        )

    def _ways(self) -> list[Way]:
        pipeline = f"{PIPELINE_PLAYERS:,} players each"
        fsync, sqlite = self._fsync, f"{SYNCHRONOUS[self._fsync]} (WAL)"
        return [
            Way("realmkeep", "Realmkeep", UNIT, 1, CHUNKS, fsync, self._realmkeep),
            Way("recipe", "redis-py, the specification's SET and RENAME", UNIT, 1, pipeline, fsync, self._recipe),
            Way("multi", "redis-py, MULTI", UNIT, 1, f"{PIPELINE_PLAYERS:,} players each", fsync, self._multi),
            Way(
                "sqlite-64",
                f"SQLite, {PLAYERS_A_TRANSACTION} players a transaction",
                UNIT,
                1,
                ONE_BY_ONE,
                sqlite,
                self._in_sqlite,
            ),
            *(self._in_postgres(postgres) for postgres in (self._postgres,) if postgres),
            Way(
                "replay",
                "limit: Realmkeep's own script calls, sent again",
                UNIT,
                1,
                CHUNKS,
                fsync,
                self._replayed,
                is_limit=True,
            ),
            Way("mset", "limit: packed MSETs", UNIT, 1, CHUNKS, fsync, self._msets, is_limit=True),
        ]

    async def _realmkeep(self) -> Measured:
        tick = Tick(self._clock)
        elapsed_s, slices = await self._flush(tick)
        assert not any(session.dirty for session in self._crowd), "a player was left out"
        self._slices.append(slices)
        self._late_s.append(tick.late_s)
        return Measured(len(self._crowd) / elapsed_s)

    async def _flush(self, tick: Tick) -> tuple[float, list[Slice]]:
        """Change all players; the seconds from the first durable write to the last one, and the slices meanwhile."""
        crowd, now_s = self._crowd, self._clock.monotonic_s
        first, last = crowd[0], crowd[-1]
        before, start_s = first.revision, None
        for start in range(0, len(crowd), PLAYERS_A_CHANGE):
            for session in crowd[start : start + PLAYERS_A_CHANGE]:
                session.record.xp += 1
            await self._clock.sleep(0)
            if (
                start_s is None and first.revision != before
            ):  # on a slow machine the flush begins before all have changed
                start_s = now_s()
        while first.revision == before:
            await self._clock.sleep(POLL_S)
        start_s = start_s or now_s()
        with measured_slices(self._clock) as slices:
            async with ticking(tick):
                while last.dirty:
                    await self._clock.sleep(POLL_S)
                elapsed_s = now_s() - start_s
        return elapsed_s, slices

    async def _replayed(self) -> Measured:
        return await self._replay.send_again(len(self._crowd), self._clock)

    async def _recipe(self) -> Measured:
        return await self._in_groups(PIPELINE_PLAYERS, self._redis.recipe)

    async def _multi(self) -> Measured:
        return await self._in_groups(PIPELINE_PLAYERS, self._redis.multi)

    async def _in_groups(self, size: int, save: Callable[[Sequence[Saved]], Awaitable[object]]) -> Measured:
        async def save_all() -> None:
            for start in range(0, len(self._sent), size):
                await save(self._sent[start : start + size])

        return await timed(save_all, len(self._sent), self._clock)

    async def _in_sqlite(self) -> Measured:
        groups = self._groups(PLAYERS_A_TRANSACTION)

        def save_all() -> None:
            for group in groups:
                self._sqlite.save(group)

        return await timed(lambda: asyncio.to_thread(save_all), len(self._sent), self._clock)

    def _in_postgres(self, postgres: PostgresWay) -> Way:
        async def save() -> None:
            for group in self._groups(PLAYERS_A_TRANSACTION):
                await postgres.save(group)

        async def measure() -> Measured:
            return await timed(save, len(self._sent), self._clock)

        name = f"PostgreSQL, {PLAYERS_A_TRANSACTION} players a transaction"
        return Way("postgres-64", name, UNIT, 1, "one prepared statement", POSTGRES_SYNCHRONOUS[self._fsync], measure)

    async def _msets(self) -> Measured:
        packed = [packed_mset(group) for group in self._groups(CHUNK_TRANSACTIONS_MAX)]
        return await timed(
            lambda: asyncio.to_thread(send_all, self._server.socket_path, packed), len(self._sent), self._clock
        )

    def _groups(self, size: int) -> list[list[tuple[str, bytes]]]:
        """Keys and values of `size` players at a time."""
        return [
            [
                pair
                for keys, record, others in self._sent[start : start + size]
                for pair in ((keys.record, record), *others)
            ]
            for start in range(0, len(self._sent), size)
        ]


def _saved(number: int, session: Session[SpecPlayer]) -> Saved:
    """The same bytes for a player whom no keeper has."""
    keys = keys_of_player(OTHER_PLAYERS + number)
    return keys, encode(session.record), ((keys.updated, b"%d" % FIRST_REVISION_US),)
