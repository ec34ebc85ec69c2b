"""The report of `/status`: what `realmkeep status` and `realmkeep top` show. New fields may come; the present ones stay."""

from __future__ import annotations

import msgspec


class Durations(msgspec.Struct, frozen=True):
    """A histogram of durations.

    Attributes:
        edges_s: Upper edges in seconds; one more count is for everything beyond.
        counts: Observations up to each edge and above the one before.
        total_s: Their sum in seconds.
    """

    edges_s: tuple[float, ...]
    counts: tuple[int, ...]
    total_s: float

    @property
    def count(self) -> int:
        """The number of observations."""
        return sum(self.counts)

    def since(self, before: Durations) -> Durations:
        """The observations that came after those of an earlier report of the same server."""
        counts = tuple(now - then for now, then in zip(self.counts, before.counts, strict=True))
        return Durations(self.edges_s, counts, self.total_s - before.total_s)

    def quantile_s(self, share: float) -> float:
        """The upper edge of the observation at a share from 0 to 1; infinity beyond the last edge, 0 without observations."""
        left = share * self.count
        if not left:
            return 0.0
        for edge_s, count in zip(self.edges_s, self.counts, strict=False):
            left -= count
            if left <= 0:
                return edge_s
        return float("inf")


class StoreReport(msgspec.Struct, frozen=True):
    """The store; None stands for a figure that the engine does not tell, or did not tell lately."""

    engine: str
    fsync: str
    answers: bool
    warnings: tuple[str, ...]
    memory_used_bytes: int | None
    memory_max_bytes: int | None


class StatusReport(msgspec.Struct, frozen=True):
    """One server at one moment.

    Attributes:
        ready: A new player may log in.
        not_ready: Why not, one sentence each.
        degraded: The promises that do not hold now, one sentence each.
        sessions: Live sessions by kind and state.
        commits: Commits since the start by outcome.
        durations: `commit`, `store`, `flush`, `loop` and, of a game with a tick, `tick`, since the start.
        dirty_warning: The setting `operations.dirty_warning`.
        dirty_critical: The setting `operations.dirty_critical`.
    """

    server: str
    incarnation: str
    version: str
    up_s: float
    ready: bool
    not_ready: tuple[str, ...]
    degraded: tuple[str, ...]
    store: StoreReport
    sessions: dict[str, dict[str, int]]
    dirty_records: int
    dirty_warning: int
    dirty_critical: int
    oldest_dirty_s: float
    flush_interval_s: float
    frozen_records: int
    queue_depth: int
    queue_max: int
    lease_left_s: float
    lease_ttl_s: float
    commits: dict[str, int]
    durations: dict[str, Durations]
