"""Makes the report of `/status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep.operations.metrics.observed import VERSION
from realmkeep.operations.status.report import Durations, StatusReport, StoreReport

if TYPE_CHECKING:
    from realmkeep.keeping.live.measures import Histogram
    from realmkeep.operations.metrics.observed import ObservedServer


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
