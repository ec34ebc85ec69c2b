"""Durable two-player trades, with an fsync before each answer.

One trade changes two players, each with its record, its revision and an operation in its full op ring. The other ways write the
same keys and values of the two players; they neither encode records nor guard anything.
"""

import asyncio
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from realmkeep.benchmarks.comparison.contest import (
    ONE_BY_ONE,
    Measured,
    Way,
    blocking_calls_for,
    calls_for,
    compete,
)
from realmkeep.benchmarks.comparison.postgres_way import PostgresWay
from realmkeep.benchmarks.comparison.redis_ways import RedisPyWays, Saved
from realmkeep.benchmarks.comparison.replay import Replay
from realmkeep.benchmarks.comparison.results import Part
from realmkeep.benchmarks.comparison.sql_ways import SqliteWay
from realmkeep.benchmarks.limit import packed_mset, round_trips_s, send_all
from realmkeep.benchmarks.live_players import (
    FIRST_REVISION_US,
    HEARTBEAT_S,
    ITEMS,
    OTHER_PLAYERS,
    full_ring,
    keys_of_player,
    log_in,
    opened_keeper,
    populate,
    started_server,
)
from realmkeep.benchmarks.trading import TIER1_RATE_PER_S, TradingPairs
from realmkeep.clock import SystemClock
from realmkeep.config import KeeperConfig
from realmkeep.records import encode
from realmkeep.storage.redis_pipe import CHUNKS_IN_FLIGHT_MAX
from realmkeep.testing.servers import StoreServer
from realmkeep.testing.specification import specification_player

if TYPE_CHECKING:
    from realmkeep.testing.postgres_server import PostgresServer

TRADERS: Final = (1, 64, 1024)
AT_ONCE: Final = 64  # callers of the other ways
TRADES_A_TRANSACTION: Final = 64
TRADES_A_CHUNK: Final = 16
REPLAYED_TRADES_EACH: Final = 20
UNIT: Final = "trades/s"
ALWAYS: Final = "always"


def measure_trades(
    *,
    seconds: float,
    rounds: int,
    directory: Path,
    traders: Sequence[int] = TRADERS,
    postgres: "PostgresServer | None" = None,
) -> Part:
    """Measure trades, and the other ways.

    Args:
        seconds: Duration of each way in each round, more than 0.
        rounds: At least 1.
        directory: The directory of the temporary files; the contest measures its disk.
        traders: Concurrencies.
        postgres: A server with the table of `started_postgres`, or None.

    Raises:
        StorageMisconfigured: There is no Valkey or Redis to start.
    """
    with (
        started_server(directory, "always") as server,
        SqliteWay(server.directory) as sqlite,
        tempfile.TemporaryFile(dir=server.directory, buffering=0) as file,
    ):
        others = _OtherWays(server, sqlite, file, seconds)
        return asyncio.run(_measure(server, others, seconds, rounds, traders, postgres))


async def _measure(
    server: StoreServer,
    others: "_OtherWays",
    seconds: float,
    rounds: int,
    traders: Sequence[int],
    postgres: "PostgresServer | None",
) -> Part:
    config = KeeperConfig(
        name="bench", tier1_rate_per_s=TIER1_RATE_PER_S, heartbeat_s=HEARTBEAT_S, lease_ttl_s=2 * HEARTBEAT_S
    )
    players = range(2 * max(*traders, AT_ONCE))
    async with opened_keeper(server.url, config) as (keeper, storage):
        await populate(storage, players)
        market = TradingPairs(keeper, await log_in(keeper, players))
        keeper.gc.warmed_up()
        own = [_trading(market, at_once, seconds) for at_once in traders]
        replay = Replay(server, [key for number in range(2 * AT_ONCE) for key in _keys(number)])
        await replay.record(lambda: market.trade_times(AT_ONCE, REPLAYED_TRADES_EACH))
        figures = await compete([*own, *await others.ways(postgres), _replaying(replay)], rounds)
    await others.close()
    return Part(
        key="trades",
        title="Durable two-player trades, an fsync before each answer",
        work=f"one trade: two records of {len(encode(specification_player(ITEMS)))} bytes, two revisions, two op rings; "
        f"the other ways write all {others.trade_bytes:,} bytes of them, ready beforehand",
        figures=figures,
    )


def _trading(market: TradingPairs, at_once: int, seconds: float) -> Way:
    async def measure() -> Measured:
        return Measured(*await market.trade_for(at_once, seconds))

    pipelining = ONE_BY_ONE if at_once == 1 else "group commit, batches overlap"
    return Way(f"realmkeep-{at_once}", "Realmkeep", UNIT, at_once, pipelining, ALWAYS, measure)


def _replaying(replay: Replay) -> Way:
    async def measure() -> Measured:
        return await replay.send_again(AT_ONCE * REPLAYED_TRADES_EACH, SystemClock())

    name = "limit: Realmkeep's own script calls, sent again"
    return Way(
        "replay", name, UNIT, AT_ONCE, f"as recorded, {CHUNKS_IN_FLIGHT_MAX} in flight", ALWAYS, measure, is_limit=True
    )


def _keys(number: int) -> tuple[str, str, str]:
    keys = keys_of_player(number)
    return keys.record, keys.updated, keys.ops


class _OtherWays:
    """The same transfer without Realmkeep."""

    def __init__(self, server: StoreServer, sqlite: SqliteWay, file: IO[bytes], seconds: float) -> None:
        self._clock = SystemClock()
        self._server = server
        self._sqlite = sqlite
        self._file = file
        self._seconds = seconds
        self._redis = RedisPyWays(server, AT_ONCE)
        self._postgres: PostgresWay | None = None
        blob, ring = encode(specification_player(ITEMS)), full_ring()
        # Keys of their own: the players of the keeper must stay as it left them.
        all_keys = [keys_of_player(OTHER_PLAYERS + number) for number in range(2 * AT_ONCE)]
        players: list[Saved] = [
            (keys, blob, ((keys.updated, b"%d" % FIRST_REVISION_US), (keys.ops, ring))) for keys in all_keys
        ]
        self._trades = list(zip(players[::2], players[1::2], strict=True))
        self._recipes = [[(keys, record, others[:1]) for keys, record, others in trade] for trade in self._trades]
        self._pairs = [_pairs(trade) for trade in self._trades]

    @property
    def trade_bytes(self) -> int:
        """The bytes of the keys and values of one transfer."""
        return sum(len(key) + len(value) for key, value in self._pairs[0])

    async def close(self) -> None:
        await self._redis.close()
        if self._postgres:
            await self._postgres.close()

    async def ways(self, postgres: "PostgresServer | None") -> list[Way]:
        """All of them; the blocking ones run in a thread."""
        if postgres:
            self._postgres = await PostgresWay.open(postgres, AT_ONCE, "always")
        return [
            self._recipe(1),
            self._recipe(AT_ONCE),
            self._multi(1),
            self._multi(AT_ONCE),
            Way(
                "sqlite-each",
                "SQLite, one transaction a trade",
                UNIT,
                1,
                ONE_BY_ONE,
                "FULL",
                self._sqlite_each,
            ),
            Way(
                "sqlite-64",
                f"SQLite, {TRADES_A_TRANSACTION} trades a transaction",
                UNIT,
                TRADES_A_TRANSACTION,
                ONE_BY_ONE,
                "FULL",
                self._sqlite_group,
            ),
            *(self._in_postgres(postgres, n) for postgres in (self._postgres,) if postgres for n in (1, AT_ONCE)),
            Way(
                "mset",
                "limit: packed MSETs",
                UNIT,
                AT_ONCE,
                f"{TRADES_A_CHUNK} trades each, {CHUNKS_IN_FLIGHT_MAX} in flight",
                ALWAYS,
                self._mset,
                is_limit=True,
            ),
            Way("round-trip", "limit: one packed MSET", UNIT, 1, ONE_BY_ONE, ALWAYS, self._round_trip, is_limit=True),
            Way(
                "fdatasync",
                "limit: append and fdatasync",
                UNIT,
                1,
                ONE_BY_ONE,
                "each append",
                self._fdatasync,
                is_limit=True,
            ),
        ]

    def _recipe(self, at_once: int) -> Way:
        async def measure() -> Measured:
            return await calls_for(
                self._seconds, at_once, lambda number: self._redis.recipe(self._recipes[number]), self._clock
            )

        name = "redis-py, the specification's SET and RENAME"
        pipelining = "8 commands, not atomic, no op ring"
        return Way(f"recipe-{at_once}", name, UNIT, at_once, pipelining, ALWAYS, measure)

    def _multi(self, at_once: int) -> Way:
        async def measure() -> Measured:
            return await calls_for(
                self._seconds, at_once, lambda number: self._redis.multi(self._trades[number]), self._clock
            )

        return Way(f"multi-{at_once}", "redis-py, MULTI", UNIT, at_once, "6 SETs, atomic", ALWAYS, measure)

    def _in_postgres(self, postgres: PostgresWay, at_once: int) -> Way:
        async def measure() -> Measured:
            return await calls_for(
                self._seconds, at_once, lambda number: postgres.save(self._pairs[number], number), self._clock
            )

        pipelining = "one prepared statement, a connection each"
        return Way(
            f"postgres-{at_once}", "PostgreSQL, one transaction a trade", UNIT, at_once, pipelining, "on", measure
        )

    async def _sqlite_each(self) -> Measured:
        return await blocking_calls_for(
            self._seconds, lambda number: self._sqlite.save(self._pairs[number % AT_ONCE]), self._clock
        )

    async def _sqlite_group(self) -> Measured:
        group = [pair for pairs in self._pairs for pair in pairs]
        return await blocking_calls_for(
            self._seconds, lambda _: self._sqlite.save(group), self._clock, TRADES_A_TRANSACTION
        )

    async def _mset(self) -> Measured:
        chunks = [
            packed_mset([pair for pairs in self._pairs[start : start + TRADES_A_CHUNK] for pair in pairs])
            for start in range(0, AT_ONCE, TRADES_A_CHUNK)
        ]
        return await blocking_calls_for(
            self._seconds, lambda _: send_all(self._server.socket_path, chunks * 8), self._clock, AT_ONCE * 8
        )

    async def _round_trip(self) -> Measured:
        packed, now_s = packed_mset(self._pairs[0]), self._clock.monotonic_s
        took_s = await asyncio.to_thread(round_trips_s, self._server.socket_path, packed, self._seconds, now_s)
        return Measured(len(took_s) / sum(took_s), took_s)

    async def _fdatasync(self) -> Measured:
        row = b"".join(value for _, value in self._pairs[0])

        def append(_: int) -> None:
            self._file.write(row)
            os.fdatasync(self._file.fileno())

        return await blocking_calls_for(self._seconds, append, self._clock)


def _pairs(trade: Sequence[Saved]) -> list[tuple[str, bytes]]:
    return [pair for keys, record, others in trade for pair in ((keys.record, record), *others)]
