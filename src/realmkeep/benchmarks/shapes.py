"""`realmkeep bench shapes`: durable trades on each kind of store that one machine can start, one after the other.

All servers of a shape share the machine and its disk, so shapes with replicas do the work of several machines here.
"""

import asyncio
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from realmkeep.benchmarks.live_players import HEARTBEAT_S, log_in, opened_keeper, populate
from realmkeep.benchmarks.slices import MS, percentile
from realmkeep.benchmarks.trading import TIER1_RATE_PER_S, TradingPairs
from realmkeep.config import KeeperConfig
from realmkeep.testing.replicated import LocalCluster, LocalSentinels
from realmkeep.testing.servers import StoreServer

PAIRS: Final = 64
SHAPES: Final = ("sqlite", "embedded", "redis", "redis-sentinel", "redis-cluster", "postgresql")


class ShapeFigures(msgspec.Struct, frozen=True):
    """The figures of one shape.

    Attributes:
        engine: The name and version of its engine.
        trades_per_s: Durable trades of two players, 64 pairs at once.
        trade_ms_p50: From call to answer, 64 pairs at once.
        trade_ms_p99: Likewise.
        alone_ms_p50: From call to answer of a trade without others.
    """

    engine: str
    trades_per_s: int
    trade_ms_p50: float
    trade_ms_p99: float
    alone_ms_p50: float


class ShapesReport(msgspec.Struct, frozen=True):
    """The figures by shape, and the duration of each measurement in seconds."""

    shapes: dict[str, ShapeFigures]
    seconds: float


def bench_shapes(*, seconds: float, directory: Path) -> ShapesReport:
    """Measure every shape.

    Args:
        seconds: The duration of each measurement.
        directory: The directory of the stores' files.

    Raises:
        StorageMisconfigured: A driver or a program is not installed.
    """
    figures: dict[str, ShapeFigures] = {}
    for shape in SHAPES:
        with tempfile.TemporaryDirectory(prefix="rk-bench-", dir=directory) as own, _started(shape, Path(own)) as url:
            figures[shape] = asyncio.run(_measure(url, seconds))
    return ShapesReport(figures, seconds)


@contextmanager
def _started(shape: str, directory: Path) -> Generator[str]:
    with ExitStack() as stack:
        if shape == "redis":
            yield stack.enter_context(StoreServer(directory)).url
        elif shape == "redis-sentinel":
            yield stack.enter_context(LocalSentinels(directory)).url()
        elif shape == "redis-cluster":
            yield stack.enter_context(LocalCluster(directory)).url("bench")
        elif shape == "postgresql":
            from realmkeep.testing.postgres_server import PostgresServer  # noqa: PLC0415 - an extra

            yield stack.enter_context(PostgresServer()).url
        else:
            yield f"{shape}:///{directory}/{shape}"


async def _measure(url: str, seconds: float) -> ShapeFigures:
    config = KeeperConfig(
        name="bench", tier1_rate_per_s=TIER1_RATE_PER_S, heartbeat_s=HEARTBEAT_S, lease_ttl_s=2 * HEARTBEAT_S
    )
    async with opened_keeper(url, config) as (keeper, storage):
        players = range(2 * PAIRS)
        await populate(storage, players)
        market = TradingPairs(keeper, await log_in(keeper, players))
        keeper.gc.warmed_up()
        await market.trade_for(PAIRS, seconds / 5)
        _, alone_s = await market.trade_for(1, seconds)
        rate, took_s = await market.trade_for(PAIRS, seconds)
        return ShapeFigures(
            engine=storage.capability.engine,
            trades_per_s=round(rate),
            trade_ms_p50=round(percentile(took_s, 0.5) * MS, 2),
            trade_ms_p99=round(percentile(took_s, 0.99) * MS, 2),
            alone_ms_p50=round(percentile(alone_s, 0.5) * MS, 2),
        )
