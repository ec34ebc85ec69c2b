"""`realmkeep bench flush`: dirty players saved a second, and the lateness of a game's tick meanwhile.

All players change at the same moment, and the keeper flushes them as in play. The benchmark measures the time from the first
queued write to the last durable one. `limit` sends the same bytes as MSETs packed beforehand, over a bare socket: the limit of
the server. A 20 Hz tick runs in the same loop, and once more without any load.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from realmkeep.benchmarks.limit import packed_mset, send_all
from realmkeep.benchmarks.live_players import FIRST_REVISION_US, log_in, opened_keeper, populate, started_server
from realmkeep.benchmarks.slices import MS, Slice, Tick, measured_slices, percentile, ticking
from realmkeep.clock import SystemClock
from realmkeep.config import KeeperConfig
from realmkeep.keeping import Session
from realmkeep.records import encode
from realmkeep.storage.embedded_config import Fsync
from realmkeep.storage.redis_chunk import CHUNK_TRANSACTIONS_MAX
from realmkeep.testing.servers import StoreServer
from realmkeep.testing.specification import SpecPlayer

FSYNC_MODES: Final[tuple[Fsync, ...]] = ("always", "everysec")
ROUNDS: Final = 3
IDLE_S: Final = 3.0
FLUSH_INTERVAL_S: Final = 1.0  # instead of 30 s, to save time; nothing else differs from play
POLL_S: Final = 0.001
PLAYERS_A_CHANGE: Final = 500  # changing all in one callback would block the loop


class FlushFigures(msgspec.Struct, frozen=True):
    """The figures of one fsync mode: the median round, and the slices and ticks of all rounds.

    `slice_cpu_ms_*` are processor times: they exclude the time that a slice waited for a busy processor.
    """

    players_per_s: float
    limit_per_s: float
    share_of_limit: float
    slice_ms_max: float
    slice_ms_p999: float
    slice_cpu_ms_max: float
    slice_cpu_ms_p999: float
    tick_late_ms_p99: float
    tick_late_idle_ms_p99: float


class FlushReport(msgspec.Struct, frozen=True):
    """The figures, with the engine and the parameters."""

    engine: str
    players: int
    player_bytes: int
    rounds: int
    always: FlushFigures
    everysec: FlushFigures


class _FlushContest:
    """The flush of live players on one server, and the bare limit beside it."""

    def __init__(self, server: StoreServer, crowd: Sequence[Session[SpecPlayer]]) -> None:
        self._clock = SystemClock()
        self._server = server
        self._crowd = crowd

    async def measure(self, fsync: Fsync) -> FlushFigures:
        """Measure the flush and the limit, in turns."""
        await asyncio.to_thread(self._server.ask, "CONFIG", "SET", "appendfsync", fsync)
        idle, busy = Tick(self._clock), Tick(self._clock)
        async with ticking(idle):
            await self._clock.sleep(IDLE_S)
        slices: list[Slice] = []
        flush_s: list[float] = []
        limit_s: list[float] = []
        for _ in range(ROUNDS):
            flush_s.append(await self._flush(busy, slices))
            limit_s.append(await self._limit())
        wall_s, cpu_s = [slice_.wall_s for slice_ in slices], [slice_.cpu_s for slice_ in slices]
        players_per_s, limit_per_s = (len(self._crowd) / median(took) for took in (flush_s, limit_s))
        return FlushFigures(
            players_per_s=round(players_per_s, 1),
            limit_per_s=round(limit_per_s, 1),
            share_of_limit=round(players_per_s / limit_per_s, 3),
            slice_ms_max=round(max(wall_s) * MS, 3),
            slice_ms_p999=round(percentile(wall_s, 0.999) * MS, 3),
            slice_cpu_ms_max=round(max(cpu_s) * MS, 3),
            slice_cpu_ms_p999=round(percentile(cpu_s, 0.999) * MS, 3),
            tick_late_ms_p99=round(percentile(busy.late_s, 0.99) * MS, 3),
            tick_late_idle_ms_p99=round(percentile(idle.late_s, 0.99) * MS, 3),
        )

    async def _flush(self, tick: Tick, slices: list[Slice]) -> float:
        """The seconds from the first queued write to the last durable one."""
        crowd, now_s = self._crowd, self._clock.monotonic_s
        for start in range(0, len(crowd), PLAYERS_A_CHANGE):
            for session in crowd[start : start + PLAYERS_A_CHANGE]:
                session.record.xp += 1
            await self._clock.sleep(0)
        first, last = crowd[0], crowd[-1]
        before = first.revision
        while first.revision == before:
            await self._clock.sleep(POLL_S)
        with measured_slices(self._clock) as measured:
            async with ticking(tick):
                start_s = now_s()
                while last.dirty:
                    await self._clock.sleep(POLL_S)
                elapsed_s = now_s() - start_s
        slices += measured
        assert not any(session.dirty for session in crowd), "a player was left out"
        return elapsed_s

    async def _limit(self) -> float:
        """The seconds for the same bytes over a bare socket."""
        packed: list[bytes] = []
        for start in range(0, len(self._crowd), CHUNK_TRANSACTIONS_MAX):
            pairs: list[tuple[str, bytes]] = []
            for session in self._crowd[start : start + CHUNK_TRANSACTIONS_MAX]:
                pairs.append((f"limit:{session.keys.record}", encode(session.record)))
                pairs.append((f"limit:{session.keys.updated}", b"%d" % FIRST_REVISION_US))
            packed.append(packed_mset(pairs))
        start_s = self._clock.monotonic_s()
        await asyncio.to_thread(send_all, self._server.socket_path, packed)
        return self._clock.monotonic_s() - start_s


async def _measure(server: StoreServer, players: int) -> FlushReport:
    config = KeeperConfig(name="bench", flush_interval_s=FLUSH_INTERVAL_S)
    async with opened_keeper(server.url, config) as (keeper, storage):
        await populate(storage, range(players))
        crowd = await log_in(keeper, range(players))
        keeper.gc.warmed_up()
        contest = _FlushContest(server, crowd)
        always, everysec = [await contest.measure(fsync) for fsync in FSYNC_MODES]
        return FlushReport(
            engine=storage.capability.engine,
            players=players,
            player_bytes=len(encode(crowd[0].record)),
            rounds=ROUNDS,
            always=always,
            everysec=everysec,
        )


def bench_flush(*, players: int, directory: Path) -> FlushReport:
    """Measure both fsync modes.

    Args:
        players: Number of players, at least 1; each has 14 items and a full op ring.
        directory: The directory of the store's temporary files; the benchmark measures its disk.

    Raises:
        StorageMisconfigured: There is no Valkey or Redis to start.
    """
    with started_server(directory, "everysec") as server:
        return asyncio.run(_measure(server, players))
