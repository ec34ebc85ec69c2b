"""`realmkeep bench metrics`: what counting adds to a commit, and how long a scrape holds up the event loop.

The counting of a two-player commit is timed by itself, in a loop of the same statements on live sessions, in the worst case of
a batch of one commit. The scrape is timed with all players live and half of them dirty; a scrape is one callback of the event
loop, so its processor time is the delay of a tick.
"""

import asyncio
from collections.abc import Callable, Sequence
from statistics import median
from time import thread_time
from typing import Any, Final

import msgspec
from prometheus_client import CollectorRegistry, generate_latest

from realmkeep.benchmarks.live_players import log_in, opened_keeper, populate
from realmkeep.benchmarks.slices import MS, percentile
from realmkeep.clock import Clock, SystemClock
from realmkeep.config import KeeperConfig
from realmkeep.keeping import Keeper, Session
from realmkeep.keeping.keeper import engine_of
from realmkeep.operations.metrics import ObservedServer, ServerCollector
from realmkeep.operations.metrics.report import report_of

COUNTED: Final = 20_000  # commits a round
ROUNDS: Final = 7
SCRAPES: Final = 200
NS: Final = 1e9


class MetricsReport(msgspec.Struct, frozen=True):
    """The figures and the parameters.

    Attributes:
        sessions: The live sessions, of which half are dirty.
        counting_ns_a_commit: What the metrics add to a commit of two players.
        scrape_ms_p50: Processor time of a scrape, as text for Prometheus.
        scrape_ms_p99: As above.
        scrape_bytes: Its size.
        status_ms_p50: Processor time of the report of `/status`.
        status_ms_p99: As above.
    """

    sessions: int
    counting_ns_a_commit: float
    scrape_ms_p50: float
    scrape_ms_p99: float
    scrape_bytes: int
    status_ms_p50: float
    status_ms_p99: float


def _spent_ns(work: Callable[[], object]) -> float:
    """Processor nanoseconds of one call, the median round."""
    rounds: list[float] = []
    for _ in range(ROUNDS):
        began_s = thread_time()
        for _ in range(COUNTED):
            work()
        rounds.append((thread_time() - began_s) / COUNTED * NS)
    return median(rounds)


def _counting_ns(keeper: Keeper, pair: Sequence[Session[Any]], clock: Clock) -> float:
    """The statements that a commit of two players runs for the metrics alone, less those that it ran before there were any."""
    engine = engine_of(keeper)
    counters, measures, now_s = engine.counters, engine.measures, clock.monotonic_s
    queued_s = now_s()

    def counted() -> None:
        for session in pair:  # staging
            session.due_s  # noqa: B018 - remembered by each member of a write  # pyright: ignore[reportUnusedExpression]
            session.dirty_of_kind.add(session)
        began_s = now_s()  # the queue
        measures.round_trip_s.add(now_s() - began_s)
        measures.batch_writes.add(1)
        for session in pair:  # the answer
            session.raise_durable_revision(session.revision)
        counters.commits_durable += 1
        measures.commit_s.add(now_s() - queued_s)

    def bare() -> None:
        for _ in pair:
            pass
        for session in pair:
            session.durable_revision = max(session.durable_revision, session.revision)

    return _spent_ns(counted) - _spent_ns(bare)


def _times_ms(work: Callable[[], object], times: int) -> list[float]:
    spent: list[float] = []
    for _ in range(times):
        began_s = thread_time()
        work()
        spent.append((thread_time() - began_s) * MS)
    return spent


async def _measure(players: int) -> MetricsReport:
    clock = SystemClock()
    config = KeeperConfig(flush_interval_s=600, checkpoint_interval_s=600, sweep_interval_s=600)
    async with opened_keeper("memory://", config, clock) as (keeper, storage):
        numbers = range(1, players + 1)
        await populate(storage, numbers)
        crowd = await log_in(keeper, numbers)
        pair: list[Session[Any]] = [crowd[0], crowd[-1]]
        counting_ns = _counting_ns(keeper, pair, clock)
        for session in crowd[::2]:
            session.record.xp += 1
        server = ObservedServer(keeper)
        registry = CollectorRegistry()
        registry.register(ServerCollector(server))
        scrapes = _times_ms(lambda: generate_latest(registry), SCRAPES)
        reports = _times_ms(lambda: msgspec.json.encode(report_of(server)), SCRAPES)
        return MetricsReport(
            sessions=len(crowd),
            counting_ns_a_commit=round(counting_ns, 1),
            scrape_ms_p50=round(percentile(scrapes, 0.5), 3),
            scrape_ms_p99=round(percentile(scrapes, 0.99), 3),
            scrape_bytes=len(generate_latest(registry)),
            status_ms_p50=round(percentile(reports, 0.5), 3),
            status_ms_p99=round(percentile(reports, 0.99), 3),
        )


def bench_metrics(*, players: int) -> MetricsReport:
    """Measure with this many live players, on the store in memory.

    Args:
        players: The number of live players.
    """
    return asyncio.run(_measure(players))
