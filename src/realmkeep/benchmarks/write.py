"""`realmkeep bench write`: players written a second, by Realmkeep and by three other ways, on one server in one run.

- `write`: `Storage.write`, each player guarded by owner and revision, three puts: record, version, revision.
- `recipe`: the way of the specification, with redis-py's asyncio pipelines: SET of a temporary key and RENAME for the record,
  SET for its two companions.
- `pipeline`: three plain SETs a player in the same pipelines, neither staged nor guarded.
- `limit`: the same keys and bytes as MSETs packed beforehand, over a bare socket: the limit of the server.

The four take turns, so that a disturbance hits all of them; the report has medians.
"""

import asyncio
import gc
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from realmkeep.benchmarks.limit import QUIET, packed_mset, send_all
from realmkeep.benchmarks.slices import MS, Slice, measured_slices, percentile
from realmkeep.clock import SystemClock
from realmkeep.keys import RecordKeys, record_keys
from realmkeep.storage import Committed, Guard, Put, Storage, Transaction, open_storage
from realmkeep.storage.embedded_config import Fsync
from realmkeep.storage.redis_chunk import CHUNK_TRANSACTIONS_MAX
from realmkeep.testing.servers import StoreServer

FSYNC_MODES: Final[tuple[Fsync, ...]] = ("always", "everysec")
ROUNDS: Final = 5
PIPELINE_PLAYERS: Final = 1000  # a usual batch size with redis-py; smaller batches were slower
OWNER: Final = b"town-1/5f3a/912"
FIRST_REVISION_US: Final = 1_732_371_000_000_000
SPACING_US: Final = 30_000_000  # a flush every 30 s


class WriteFigures(msgspec.Struct, frozen=True):
    """Players a second and shares, of one fsync mode; slices of the event loop in milliseconds.

    `slice_cpu_ms_*` are processor times: they exclude the time that a slice waited for a busy processor.
    """

    write_per_s: float
    recipe_per_s: float
    pipeline_per_s: float
    limit_per_s: float
    times_recipe: float
    share_of_limit: float
    slice_ms_max: float
    slice_ms_p999: float
    slice_cpu_ms_max: float
    slice_cpu_ms_p999: float


class WriteReport(msgspec.Struct, frozen=True):
    """The figures, with the engine and the parameters."""

    engine: str
    records: int
    size: int
    rounds: int
    always: WriteFigures
    everysec: WriteFigures


class _Players:
    """The players of a run, each with its keys, and their values in any round."""

    def __init__(self, records: int, size: int) -> None:
        self.keys = [record_keys("player", number) for number in range(records)]
        self._size = size

    def record(self, revision: int) -> bytes:
        return (b"%d " % revision * self._size)[: self._size]

    def pairs(self, keys: RecordKeys, revision: int) -> tuple[tuple[str, bytes], ...]:
        return (keys.record, self.record(revision)), (keys.version, b"3"), (keys.updated, _revision(revision))


def _revision(number: int) -> bytes:
    return b"%d" % (FIRST_REVISION_US + number * SPACING_US)


class _WriteContest:
    """The four ways on one server."""

    def __init__(self, server: StoreServer, storage: Storage, players: _Players) -> None:
        self._clock = SystemClock()
        self._server = server
        self._storage = storage
        self._players = players
        self._redis = Redis(
            unix_socket_path=str(server.socket_path), retry=Retry(NoBackoff(), 0), retry_on_error=[], protocol=2
        )
        self._round = 0
        self.slices: list[Slice] = []

    async def prepare(self) -> None:
        """Every player exists and has an owner, as in play."""
        unconditional = [Transaction((), (Put(keys.owner, OWNER),)) for keys in self._players.keys]
        await self._storage.write(unconditional)
        await self.limit()

    async def close(self) -> None:
        await self._redis.aclose()

    async def write(self) -> float:
        revision = self._next_round()
        batch = [
            Transaction(
                (Guard(keys.owner, OWNER), Guard(keys.updated, _revision(revision - 1))),
                tuple(Put(key, value) for key, value in self._players.pairs(keys, revision)),
            )
            for keys in self._players.keys
        ]
        gc.collect()
        gc.freeze()
        with measured_slices(self._clock) as slices:
            elapsed_s = await self._timed(lambda: self._write(batch))
        gc.unfreeze()
        self.slices += slices
        return elapsed_s

    async def _write(self, batch: Sequence[Transaction]) -> None:
        outcomes = await self._storage.write(batch)
        committed = sum(isinstance(outcome, Committed) for outcome in outcomes)
        if committed != len(batch):
            raise AssertionError(f"{len(batch) - committed} of {len(batch)} players were not committed")

    async def recipe(self) -> float:
        revision = self._next_round()

        async def run() -> None:
            for start in range(0, len(self._players.keys), PIPELINE_PLAYERS):
                pipeline = self._redis.pipeline(transaction=False)
                for keys in self._players.keys[start : start + PIPELINE_PLAYERS]:
                    (key, value), *companions = self._players.pairs(keys, revision)
                    pipeline.set(f"temp:{revision}:{key}", value)
                    pipeline.rename(f"temp:{revision}:{key}", key)
                    for companion, short in companions:
                        pipeline.set(companion, short)
                await pipeline.execute()

        return await self._timed(run)

    async def pipeline(self) -> float:
        revision = self._next_round()

        async def run() -> None:
            for start in range(0, len(self._players.keys), PIPELINE_PLAYERS):
                pipeline = self._redis.pipeline(transaction=False)
                for keys in self._players.keys[start : start + PIPELINE_PLAYERS]:
                    for key, value in self._players.pairs(keys, revision):
                        pipeline.set(key, value)
                await pipeline.execute()

        return await self._timed(run)

    async def limit(self) -> float:
        revision = self._next_round()
        keys = self._players.keys
        packed = [
            packed_mset(
                [
                    pair
                    for one in keys[start : start + CHUNK_TRANSACTIONS_MAX]
                    for pair in self._players.pairs(one, revision)
                ]
            )
            for start in range(0, len(keys), CHUNK_TRANSACTIONS_MAX)
        ]
        return await self._timed(lambda: asyncio.to_thread(send_all, self._server.socket_path, packed))

    def _next_round(self) -> int:
        self._round += 1
        return self._round

    async def _timed(self, run: Callable[[], Awaitable[None]]) -> float:
        start_s = self._clock.monotonic_s()
        await run()
        return self._clock.monotonic_s() - start_s


async def _measure(records: int, size: int, fsync: Fsync, directory: Path) -> tuple[str, WriteFigures]:
    server = await asyncio.to_thread(StoreServer, directory, fsync=fsync, extra=QUIET)
    try:
        await asyncio.to_thread(server.start)
        storage = open_storage(server.url)
        await storage.connect()
        contest = _WriteContest(server, storage, _Players(records, size))
        await contest.prepare()
        contestants = {
            "write": contest.write,
            "recipe": contest.recipe,
            "pipeline": contest.pipeline,
            "limit": contest.limit,
        }
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for number in range(ROUNDS + 1):
            for name, run in contestants.items():
                elapsed_s = await run()
                if number:  # the first round warms up
                    seconds[name].append(elapsed_s)
        engine = storage.capability.engine
        await contest.close()
        await storage.disconnect()
    finally:
        await asyncio.to_thread(server.close)
    per_s = {name: records / median(elapsed) for name, elapsed in seconds.items()}
    wall_s, cpu_s = zip(*contest.slices, strict=True)
    return engine, WriteFigures(
        **{f"{name}_per_s": round(value, 1) for name, value in per_s.items()},
        times_recipe=round(per_s["write"] / per_s["recipe"], 2),
        share_of_limit=round(per_s["write"] / per_s["limit"], 3),
        slice_ms_max=round(max(wall_s) * MS, 3),
        slice_ms_p999=round(percentile(wall_s, 0.999) * MS, 3),
        slice_cpu_ms_max=round(max(cpu_s) * MS, 3),
        slice_cpu_ms_p999=round(percentile(cpu_s, 0.999) * MS, 3),
    )


async def bench_write(*, records: int, size: int, directory: Path) -> WriteReport:
    """Measure both fsync modes.

    Args:
        records: Players, at least 1.
        size: Bytes of a player's record, at least 1.
        directory: The directory of the store's temporary files; the benchmark measures its disk.

    Raises:
        StorageMisconfigured: There is no Valkey or Redis to start.
    """
    figures: dict[str, WriteFigures] = {}
    engine = ""
    for fsync in FSYNC_MODES:
        with tempfile.TemporaryDirectory(dir=directory, prefix="bench-") as inside:
            engine, figures[fsync] = await _measure(records, size, fsync, Path(inside))
    return WriteReport(
        engine=engine,
        records=records,
        size=size,
        rounds=ROUNDS,
        always=figures["always"],
        everysec=figures["everysec"],
    )
