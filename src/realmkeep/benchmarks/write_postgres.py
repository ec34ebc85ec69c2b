"""`realmkeep bench write --store postgresql://...`: players written a second, by Realmkeep and by two other ways, in one run.

- `write`: `Storage.write`, each player guarded by owner and revision, three puts: record, version, revision.
- `one_by_one`: the same guards and puts as a transaction of their own for each player: BEGIN, SELECT FOR UPDATE, upsert, COMMIT.
- `limit`: unguarded upserts of the same rows, in statements of as many players: the limit of the database.

The three take turns, so that a disturbance hits all of them; the report has medians. The rows are deleted at the end.
"""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from realmkeep.benchmarks.slices import MS, Slice, measured_slices, percentile
from realmkeep.clock import SystemClock
from realmkeep.errors import ConfigError, StorageUnavailable
from realmkeep.keys import RecordKeys, record_keys
from realmkeep.storage import Committed, Delete, Guard, Put, Transaction, open_storage
from realmkeep.storage.postgres import PostgresStorage
from realmkeep.storage.postgres.address import parse_postgres_url
from realmkeep.storage.postgres.arrays import byteas, register, texts
from realmkeep.storage.postgres.chunk import CHUNK_TRANSACTIONS_MAX
from realmkeep.storage.postgres.connection import PREPARE_AFTER
from realmkeep.storage.postgres.dialects import POSTGRESQL

ROUNDS: Final = 5
ONE_BY_ONE_MAX: Final = 400  # players of a round; each waits for its own commit
KIND: Final = "realmkeep-bench"
OWNER: Final = b"town-1/5f3a/912"
FIRST_REVISION_US: Final = 1_732_371_000_000_000
SPACING_US: Final = 30_000_000  # a flush every 30 s
LOCK: Final = b"SELECT key, value FROM realmkeep_entry WHERE key = ANY (%b::text[]) ORDER BY key FOR UPDATE"
UPSERT: Final = (
    b"INSERT INTO realmkeep_entry (key, value) SELECT * FROM unnest(%b::text[], %b::bytea[]) AS c (key, value) "
    b"ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)


class PostgresWriteReport(msgspec.Struct, frozen=True):
    """Players a second, with the parameters; slices of the event loop in milliseconds.

    `slice_cpu_ms_*` are processor times: they exclude the time that a slice waited for a busy processor.
    """

    engine: str
    synchronous_commit: str
    records: int
    size: int
    rounds: int
    write_per_s: float
    one_by_one_per_s: float
    limit_per_s: float
    times_one_by_one: float
    share_of_limit: float
    share_of_fast_chunks: float
    slice_ms_max: float
    slice_ms_p999: float
    slice_cpu_ms_max: float
    slice_cpu_ms_p999: float


class _Contest:
    """The three ways on one database."""

    def __init__(self, storage: PostgresStorage, connection: AsyncConnection[Any], records: int, size: int) -> None:
        self._storage = storage
        self._connection = connection
        self._clock = SystemClock()
        self._keys = [record_keys(KIND, number) for number in range(records)]
        self._size = size
        self._revision = 0
        self.slices: list[Slice] = []

    @property
    def one_by_one_players(self) -> int:
        """The players that a round writes one by one."""
        return min(len(self._keys), ONE_BY_ONE_MAX)

    async def prepare(self) -> None:
        """Every player exists and has an owner, as in play."""
        await self._storage.write([Transaction((), (Put(keys.owner, OWNER),)) for keys in self._keys])
        await self.limit()

    async def clear(self) -> None:
        """Delete the players."""
        await self._storage.write(
            [Transaction((), tuple(Delete(key) for key in (keys.owner, *self._pairs(keys)))) for keys in self._keys]
        )

    async def write(self) -> float:
        """Write every player through the storage; return the seconds."""
        before, self._revision = self._stamp(), self._revision + 1
        batch = [
            Transaction(
                (Guard(keys.owner, OWNER), Guard(keys.updated, before)),
                tuple(Put(key, value) for key, value in self._pairs(keys).items()),
            )
            for keys in self._keys
        ]
        gc.collect()
        gc.freeze()
        with measured_slices(self._clock) as slices:
            elapsed_s = await self._timed(lambda: self._write(batch))
        gc.unfreeze()
        self.slices += slices
        return elapsed_s

    async def one_by_one(self) -> float:
        """Write some players, each in a transaction of its own; return the seconds."""

        async def run() -> None:
            for keys in self._keys[: self.one_by_one_players]:
                pairs = self._pairs(keys)
                await self._connection.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ")
                await self._connection.execute(LOCK, [texts([keys.owner, *pairs])])
                await self._connection.execute(UPSERT, [texts([*pairs]), byteas([*pairs.values()])])
                await self._connection.execute(b"COMMIT")

        return await self._timed(run)

    async def limit(self) -> float:
        """Write every player without a guard; return the seconds."""
        self._revision += 1
        chunks: list[tuple[object, object]] = []
        for start in range(0, len(self._keys), CHUNK_TRANSACTIONS_MAX):
            some = [self._pairs(keys) for keys in self._keys[start : start + CHUNK_TRANSACTIONS_MAX]]
            pairs = [pair for each in some for pair in each.items()]
            chunks.append((texts([key for key, _ in pairs]), byteas([value for _, value in pairs])))

        async def run() -> None:
            for chunk in chunks:
                await self._connection.execute(UPSERT, chunk)

        return await self._timed(run)

    async def _write(self, batch: list[Transaction]) -> None:
        outcomes = await self._storage.write(batch)
        committed = sum(isinstance(outcome, Committed) for outcome in outcomes)
        if committed != len(batch):
            raise AssertionError(f"{len(batch) - committed} of {len(batch)} players were not committed")

    def _stamp(self) -> bytes:
        return b"%d" % (FIRST_REVISION_US + self._revision * SPACING_US)

    def _pairs(self, keys: RecordKeys) -> dict[str, bytes]:
        record = (b"%d " % self._revision * self._size)[: self._size]
        return {keys.record: record, keys.version: b"3", keys.updated: self._stamp()}

    async def _timed(self, run: Callable[[], Awaitable[None]]) -> float:
        start_s = self._clock.monotonic_s()
        await run()
        return self._clock.monotonic_s() - start_s


async def bench_write_postgres(url: str, *, records: int, size: int) -> PostgresWriteReport:
    """Measure on a database that runs already; the players are of a kind of their own, and are deleted at the end.

    Args:
        url: A `postgresql://` URL.
        records: Players, at least 1.
        size: Bytes of a player's record, at least 1.

    Raises:
        ConfigError: It is another kind of store.
        StorageError: The database cannot be used.
    """
    storage = open_storage(url)
    if not isinstance(storage, PostgresStorage):
        raise ConfigError(
            "bench write --store measures a Postgres", hint="postgresql://...; for the other stores: ./dev bench"
        )
    await storage.connect()
    try:
        connection = await _connection(url)
        try:
            contest = _Contest(storage, connection, records, size)
            return await _measure(contest, storage, records, size)
        finally:
            await connection.close()
    finally:
        await storage.disconnect()


async def _connection(url: str) -> AsyncConnection[Any]:
    """Return a connection with the settings of the storage's own."""
    address = parse_postgres_url(urlsplit(url))
    secret = await asyncio.to_thread(address.read_password)
    try:
        connection: AsyncConnection[Any] = await AsyncConnection.connect(
            make_conninfo(**address.parameters, **secret), autocommit=True, prepare_threshold=PREPARE_AFTER
        )
    except psycopg.OperationalError as error:
        raise StorageUnavailable(f"the store {address} gives no second connection", hint="see its log") from error
    register(connection.adapters)
    for text in POSTGRESQL.statements("session"):
        await connection.execute(text.encode())
    return connection


async def _measure(contest: _Contest, storage: PostgresStorage, records: int, size: int) -> PostgresWriteReport:
    contestants = {"write": contest.write, "one_by_one": contest.one_by_one, "limit": contest.limit}
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    try:
        await contest.prepare()
        for number in range(ROUNDS + 1):
            for name, run in contestants.items():
                elapsed_s = await run()
                if number:  # the first round warms up
                    seconds[name].append(elapsed_s)
    finally:
        await contest.clear()
    players = {"write": records, "one_by_one": contest.one_by_one_players, "limit": records}
    per_s = {name: players[name] / median(elapsed) for name, elapsed in seconds.items()}
    wall_s, cpu_s = zip(*contest.slices, strict=True)
    chunks, capability = storage.statistics, storage.capability
    return PostgresWriteReport(
        engine=capability.engine,
        synchronous_commit=capability.fsync,
        records=records,
        size=size,
        rounds=ROUNDS,
        **{f"{name}_per_s": round(value, 1) for name, value in per_s.items()},
        times_one_by_one=round(per_s["write"] / per_s["one_by_one"], 2),
        share_of_limit=round(per_s["write"] / per_s["limit"], 3),
        share_of_fast_chunks=round(chunks.fast / (chunks.fast + chunks.slow), 3),
        slice_ms_max=round(max(wall_s) * MS, 3),
        slice_ms_p999=round(percentile(wall_s, 0.999) * MS, 3),
        slice_cpu_ms_max=round(max(cpu_s) * MS, 3),
        slice_cpu_ms_p999=round(percentile(cpu_s, 0.999) * MS, 3),
    )
