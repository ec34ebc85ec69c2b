"""`realmkeep bench commit`: durable two-player trades a second, through the public API, with fsync before each answer.

A trade moves an item one way and coins the other. Each player has an operation and a full op ring, so one transaction holds two
records, two revisions and two rings. The other contenders move the same bytes on the same disk, one transaction a trade:

- `sqlite`: SQLite in WAL mode with `synchronous=FULL`, on this thread.
- `multi`: redis-py's asyncio MULTI on the same store, 64 at a time.
- `fdatasync`: append the bytes to a file and wait for the disk, as every durable answer must.
- `round_trip`: one packed MSET to the store and its answer, alone.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import apsw
import msgspec
from redis.asyncio import BlockingConnectionPool, Redis, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from realmkeep.benchmarks.limit import packed_mset, round_trips_s
from realmkeep.benchmarks.live_players import (
    FIRST_REVISION_US,
    full_ring,
    keys_of_player,
    log_in,
    opened_keeper,
    populate,
    started_server,
)
from realmkeep.benchmarks.slices import MS, percentile
from realmkeep.benchmarks.trading import TIER1_RATE_PER_S, TradingPairs
from realmkeep.clock import SystemClock
from realmkeep.config import KeeperConfig
from realmkeep.records import encode
from realmkeep.testing.servers import StoreServer
from realmkeep.testing.specification import specification_player

CONCURRENCIES: Final = (1, 64, 1024)
MULTI_AT_ONCE: Final = 64
ROUNDS: Final = 3
ROUND_TRIPS: Final = 300
WARM_UP_S: Final = 0.3


class TradeFigures(msgspec.Struct, frozen=True):
    """The figures of one concurrency; the median round."""

    concurrency: int
    trades_per_s: float
    latency_ms_p50: float
    latency_ms_p99: float


class CommitReport(msgspec.Struct, frozen=True):
    """The figures, with the engine and the parameters."""

    engine: str
    seconds: float
    rounds: int
    trade_bytes: int
    trades: tuple[TradeFigures, ...]
    sqlite_per_s: float
    multi_per_s: float
    fdatasync_per_s: float
    round_trip_ms_p50: float


def _figures(concurrency: int, per_s: float, took_s: Sequence[float]) -> TradeFigures:
    return TradeFigures(
        concurrency=concurrency,
        trades_per_s=round(per_s, 1),
        latency_ms_p50=round(percentile(took_s, 0.5) * MS, 3),
        latency_ms_p99=round(percentile(took_s, 0.99) * MS, 3),
    )


def _puts(number: int) -> list[tuple[str, bytes]]:
    """The keys and values that a trade of two players writes."""
    blob, ring = encode(specification_player(14)), full_ring()
    pairs: list[tuple[str, bytes]] = []
    for keys in (keys_of_player(2 * number), keys_of_player(2 * number + 1)):
        pairs += [(keys.record, blob), (keys.updated, b"%d" % FIRST_REVISION_US), (keys.ops, ring)]
    return pairs


class _OtherWays:
    """The same transfer with SQLite, MULTI, a file, and a bare socket."""

    def __init__(self, server: StoreServer, seconds: float) -> None:
        self._clock = SystemClock()
        self._server = server
        self._seconds = seconds
        self._puts = [_puts(number) for number in range(MULTI_AT_ONCE)]

    @property
    def trade_bytes(self) -> int:
        """The bytes of the keys and values of one transfer."""
        return sum(len(key) + len(value) for key, value in self._puts[0])

    def blocking(self) -> tuple[float, float, float]:
        """The blocking ways, one after the other: SQLite transfers a second, fdatasyncs a second, a round trip in ms."""
        return self.sqlite(), self.fdatasync(), self.round_trip_ms()

    def sqlite(self) -> float:
        """Transfers a second in SQLite, one transaction each. Blocks."""
        with tempfile.TemporaryDirectory(dir=self._server.directory) as inside:
            connection: Any = apsw.Connection(str(Path(inside) / "trades.db"))  # the stub of execute is partly unknown
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("CREATE TABLE kept (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")

            def transfer(number: int) -> None:
                with connection:
                    for key, value in self._puts[number % MULTI_AT_ONCE]:
                        connection.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (key, value))

            per_s = self._per_s(transfer)
            connection.close()
        return per_s

    def fdatasync(self) -> float:
        """Appends of a trade's bytes a second, each waiting for the disk. Blocks."""
        row = b"".join(value for _, value in self._puts[0])
        with tempfile.NamedTemporaryFile(dir=self._server.directory, buffering=0) as file:

            def append(_: int) -> None:
                file.write(row)
                os.fdatasync(file.fileno())

            return self._per_s(append)

    def round_trip_ms(self) -> float:
        """Milliseconds from an MSET to its answer, alone; the median. Blocks."""
        packed = packed_mset(self._puts[0])
        took_s = round_trips_s(self._server.socket_path, packed, ROUND_TRIPS, self._clock.monotonic_s)
        return round(median(took_s) * MS, 3)

    def _per_s(self, once: Callable[[int], None]) -> float:
        start_s = self._clock.monotonic_s()
        number = 0
        while (now_s := self._clock.monotonic_s()) < start_s + self._seconds:
            once(number)
            number += 1
        return number / (now_s - start_s)

    async def multi(self) -> float:
        """Transfers a second with redis-py's MULTI: 64 callers with a connection each."""
        pool = BlockingConnectionPool(
            connection_class=UnixDomainSocketConnection,
            path=str(self._server.socket_path),
            max_connections=MULTI_AT_ONCE,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,
        )
        redis = Redis(connection_pool=pool)
        deadline_s = self._clock.monotonic_s() + self._seconds

        async def transfers(number: int) -> int:
            done = 0
            while self._clock.monotonic_s() < deadline_s:
                async with redis.pipeline(transaction=True) as pipeline:
                    for key, value in self._puts[number]:
                        pipeline.set(key, value)
                    await pipeline.execute()
                done += 1
            return done

        done = sum(await asyncio.gather(*map(transfers, range(MULTI_AT_ONCE))))
        await redis.aclose()
        await pool.disconnect()
        return done / self._seconds


async def _measure(server: StoreServer, seconds: float) -> CommitReport:
    rounds: list[list[TradeFigures]] = [[] for _ in CONCURRENCIES]
    others = _OtherWays(server, seconds)
    config = KeeperConfig(name="bench", tier1_rate_per_s=TIER1_RATE_PER_S)
    async with opened_keeper(server.url, config) as (keeper, storage):
        await populate(storage, range(2 * max(CONCURRENCIES)))
        market = TradingPairs(keeper, await log_in(keeper, range(2 * max(CONCURRENCIES))))
        keeper.gc.warmed_up()
        await market.trade_for(max(CONCURRENCIES), WARM_UP_S)
        for _ in range(ROUNDS):
            for of_concurrency, concurrency in zip(rounds, CONCURRENCIES, strict=True):
                per_s, took_s = await market.trade_for(concurrency, seconds)
                of_concurrency.append(_figures(concurrency, per_s, took_s))
        engine = storage.capability.engine
    multi_per_s = await others.multi()
    sqlite_per_s, fdatasync_per_s, round_trip_ms = await asyncio.to_thread(others.blocking)
    return CommitReport(
        engine=engine,
        seconds=seconds,
        rounds=ROUNDS,
        trade_bytes=others.trade_bytes,
        trades=tuple(sorted(figures, key=_trades_per_s)[len(figures) // 2] for figures in rounds),
        sqlite_per_s=round(sqlite_per_s, 1),
        multi_per_s=round(multi_per_s, 1),
        fdatasync_per_s=round(fdatasync_per_s, 1),
        round_trip_ms_p50=round_trip_ms,
    )


def _trades_per_s(figures: TradeFigures) -> float:
    return figures.trades_per_s


def bench_commit(*, seconds: float, directory: Path) -> CommitReport:
    """Measure trades, and the other ways of moving the same bytes.

    Args:
        seconds: Duration of each round and of each other way.
        directory: The directory of the store's temporary files; the benchmark measures its disk.

    Raises:
        StorageMisconfigured: There is no Valkey or Redis to start.
    """
    with started_server(directory, "always") as server:
        return asyncio.run(_measure(server, seconds))
