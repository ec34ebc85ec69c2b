"""The measures of a keeper that are no plain counters: durations, sizes, and events by kind."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

DURATION_EDGES_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper edges of durations; 10 and 100 ms, 1 and 5 s are thresholds of alerts."""
BATCH_EDGES: Final = (1, 2, 4, 8, 16, 32, 64, 128)
"""Upper edges of the writes in a batch, up to the largest one."""

LOAD_OUTCOMES: Final = ("loaded", "mended", "created", "absent", "owned_elsewhere", "quarantined", "failed")
"""The ends of a login, a hold or a borrow that reads the store."""


class Histogram:
    """Counts observations by size, in 115 ns; a metrics library takes three to ten times as long.

    Args:
        edges: Ascending upper edges, each included; one more count is for everything beyond.

    Attributes:
        counts: The observations up to each edge and above the one before.
        total: The sum of all observations.
    """

    __slots__ = ("counts", "edges", "total")

    def __init__(self, edges: Sequence[float] = DURATION_EDGES_S) -> None:
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.total = 0.0

    def add(self, observed: float) -> None:
        """Count an observation."""
        self.counts[bisect_left(self.edges, observed)] += 1
        self.total += observed

    @property
    def count(self) -> int:
        """The number of observations."""
        return sum(self.counts)


class Measures:
    """The measures of one keeper since it opened.

    Attributes:
        commit_s: Seconds from a commit's function to its durability.
        round_trip_s: Seconds from sending a batch of writes to the answers of the store.
        flush_s: Seconds in which a round of the flusher handed its due records over; only rounds with a due record.
        batch_writes: Writes in a batch.
        loads: Logins, holds and borrows that read the store, by kind of the record and outcome (`LOAD_OUTCOMES`).
        migrations: Records that were migrated when they were loaded, by kind and former version.
    """

    __slots__ = ("batch_writes", "commit_s", "flush_s", "loads", "migrations", "round_trip_s")

    def __init__(self) -> None:
        self.commit_s = Histogram()
        self.round_trip_s = Histogram()
        self.flush_s = Histogram()
        self.batch_writes = Histogram(BATCH_EDGES)
        self.loads: Counter[tuple[str, str]] = Counter()
        self.migrations: Counter[tuple[str, int]] = Counter()
