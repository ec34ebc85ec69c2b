"""The report of `/status`: what `realmkeep status` and `realmkeep top` show. New fields may come; the present ones stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from realmkeep.operations.metrics.observed import VERSION

if TYPE_CHECKING:
    from realmkeep.keeping.live.measures import Histogram
    from realmkeep.operations.metrics.observed import ObservedServer


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


def report_of(server: ObservedServer) -> StatusReport:
    """The report of this moment."""
    engine, status, not_ready = server.engine, server.keeper.status(), tuple(server.not_ready())
    measures, vitals, capability = engine.measures, server.vitals, engine.storage.capability
    sessions: dict[str, dict[str, int]] = {}
    for (kind, state), count in status.sessions_by_state.items():
        sessions.setdefault(kind, {})[state] = count
    durations = {
        "commit": measures.commit_s,
        "store": measures.round_trip_s,
        "flush": measures.flush_s,
        "loop": server.loop_lag_s,
        **({"tick": server.tick_lateness_s} if server.tick_lateness_s is not None else {}),
    }
    return StatusReport(
        server=server.keeper.name,
        incarnation=status.incarnation,
        version=VERSION,
        up_s=server.up_s,
        ready=not not_ready,
        not_ready=not_ready,
        degraded=tuple(sentence for _, sentence in server.degraded()),
        store=StoreReport(
            capability.engine,
            capability.fsync,
            server.store_answers,
            capability.warnings,
            None if vitals is None else vitals.memory_used_bytes,
            None if vitals is None else vitals.memory_max_bytes,
        ),
        sessions=sessions,
        dirty_records=status.dirty_records,
        dirty_warning=server.config.dirty_warning,
        dirty_critical=server.config.dirty_critical,
        oldest_dirty_s=status.oldest_dirty_s,
        flush_interval_s=engine.config.flush_interval_s,
        frozen_records=status.frozen_records,
        queue_depth=status.queue_depth,
        queue_max=engine.config.queue_max,
        lease_left_s=status.lease_left_s,
        lease_ttl_s=engine.config.lease_ttl_s,
        commits={
            "committed": status.commits_durable,
            "repeated": status.repeats,
            "refused_by_game": status.refused_by_game,
            "refused_by_rule": status.refused_by_rule,
            "refused_by_store": status.refused_by_store,
            "unknown": status.commits_unknown,
            "rate_limited": status.rate_limited,
        },
        durations={name: _durations(observed) for name, observed in durations.items()},
    )


def _durations(observed: Histogram) -> Durations:
    return Durations(tuple(observed.edges), tuple(observed.counts), observed.total)
