"""The lines of a report for people: each a word, a sentence, and whether it needs attention."""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realmkeep.operations.status.report import Durations, StatusReport, StoreReport

MIB: Final = 1024**2
LATE_S: Final = 5.0  # beyond the flush interval: the promise is broken
SLOW_WRITE_S: Final = (0.01, 0.1)  # the specification's thresholds, at the 99th percentile
SLOW_FLUSH_S: Final = (1.0, 5.0)
SLOW_LOOP_S: Final = (0.1, 1.0)
NAMES: Final = {"store": "round trip"}
FULL: Final = (0.7, 0.9)


class Attention(Enum):
    """How much attention a line needs."""

    NONE = ""
    WARNING = "warning"
    CRITICAL = "CRITICAL"


class Line(NamedTuple):
    """A line of a report.

    Attributes:
        name: One word.
        text: Its figures.
        attention: How much attention it needs.
        value: The figure to draw over time; None if none is worth it.
    """

    name: str
    text: str
    attention: Attention = Attention.NONE
    value: float | None = None


def grade(value: float, edges: tuple[float, float]) -> Attention:
    """The attention for a value that is to stay below a warning and a critical edge."""
    warning, critical = edges
    return Attention.CRITICAL if value > critical else Attention.WARNING if value > warning else Attention.NONE


def lines(report: StatusReport, before: StatusReport | None = None) -> Iterator[Line]:
    """The lines of a report.

    Args:
        report: The present report.
        before: An earlier one of the same server: counts and durations are then those since, and counts are rates.
    """
    if before is not None and before.incarnation != report.incarnation:
        before = None
    dirty = grade(report.dirty_records, (report.dirty_warning, report.dirty_critical))
    late = grade(report.oldest_dirty_s, (report.flush_interval_s, report.flush_interval_s + LATE_S))
    yield Line("oldest", f"{report.oldest_dirty_s:.0f} s of {report.flush_interval_s:g} s", late, report.oldest_dirty_s)
    yield Line("dirty", f"{report.dirty_records:,} records", dirty, report.dirty_records)
    if report.frozen_records:
        yield Line("frozen", f"{report.frozen_records:,} records cannot be saved", Attention.WARNING)
    yield from _sessions(report)
    yield _commits(report, before)
    yield from _durations(report, before)
    yield _queue(report)
    yield from _store(report.store)
    lease = Attention.CRITICAL if report.lease_left_s < report.lease_ttl_s / 3 else Attention.NONE
    yield Line("lease", f"{report.lease_left_s:.0f} s of {report.lease_ttl_s:g} s", lease)


def _sessions(report: StatusReport) -> Iterator[Line]:
    for kind, by_state in sorted(report.sessions.items()):
        if told := [f"{count:,} {state}" for state, count in by_state.items() if count]:
            yield Line(kind, ", ".join(told), value=by_state.get("connected", 0))


def _commits(report: StatusReport, before: StatusReport | None) -> Line:
    seconds = 1.0 if before is None else max(report.up_s - before.up_s, 1e-3)
    then = before.commits if before is not None else {}
    rates = {outcome: (count - then.get(outcome, 0)) / seconds for outcome, count in report.commits.items()}
    unit = "/s " if before is not None else " "
    told = [
        f"{rate:,.0f}{unit}{outcome.replace('_', ' ')}"
        for outcome, rate in rates.items()
        if rate or outcome == "committed"
    ]
    return Line(
        "commits",
        ", ".join(told),
        Attention.WARNING if rates.get("unknown") else Attention.NONE,
        None if before is None else rates["committed"],
    )


def _durations(report: StatusReport, before: StatusReport | None) -> Iterator[Line]:
    edges = {"store": SLOW_WRITE_S, "flush": SLOW_FLUSH_S, "loop": SLOW_LOOP_S, "tick": SLOW_LOOP_S}
    for name, durations in report.durations.items():
        since = durations if before is None or name not in before.durations else durations.since(before.durations[name])
        p99_s = since.quantile_s(0.99)
        attention = grade(p99_s, edges[name]) if name in edges else Attention.NONE
        yield Line(NAMES.get(name, name), _within(since), attention, None if math.isinf(p99_s) else 1000 * p99_s)


def _within(durations: Durations) -> str:
    if not durations.count:
        return "none yet"
    half_s, most_s = durations.quantile_s(0.5), durations.quantile_s(0.99)
    return f"half {_at_most(half_s, durations)}, 99 % {_at_most(most_s, durations)}"


def _at_most(quantile_s: float, durations: Durations) -> str:
    """The edge of a histogram as a bound, because more is not known."""
    if math.isinf(quantile_s):
        return f"over {durations.edges_s[-1]:g} s"
    return f"<= {quantile_s:g} s" if quantile_s >= 1 else f"<= {1000 * quantile_s:g} ms"


def _queue(report: StatusReport) -> Line:
    share = report.queue_depth / report.queue_max
    return Line(
        "queue", f"{report.queue_depth:,} of {report.queue_max:,} writes", grade(share, (0.5, 0.9)), report.queue_depth
    )


def _store(store: StoreReport) -> Iterator[Line]:
    answers = "answers" if store.answers else "does not answer"
    attention = Attention.NONE if store.answers else Attention.CRITICAL
    yield Line("store", f"{store.engine}, fsync {store.fsync}, {answers}", attention)
    if store.memory_used_bytes is not None:
        used, limit = store.memory_used_bytes, store.memory_max_bytes or 0
        told = (
            f"{used / MIB:,.0f} of {limit / MIB:,.0f} MiB, {used / limit:.0%}"
            if limit
            else f"{used / MIB:,.0f} MiB, no limit"
        )
        yield Line("memory", told, grade(used / limit, FULL) if limit else Attention.WARNING, used / MIB)
