"""The figures of a keeper at one moment; none of them costs more with more sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep.keeping.lifecycle.degraded import degraded_reasons
from realmkeep.keeping.live.counters import KeeperStatus
from realmkeep.keeping.live.session_states import OVER

if TYPE_CHECKING:
    from realmkeep.keeping.lifecycle.engine import Engine


def status_of(engine: Engine) -> KeeperStatus:
    """The figures of this moment."""
    sessions = engine.sessions
    dirty = {kind: len(of_kind) for kind, of_kind in sessions.dirty.items()}
    return KeeperStatus(
        **vars(engine.counters),
        incarnation=engine.lease.incarnation,
        degraded=tuple((reason.code, reason.sentence) for reason in degraded_reasons(engine)),
        sessions_by_state={
            (kind, state.value): count for (kind, state), count in sessions.census.items() if state not in OVER
        },
        dirty_by_kind=dirty,
        live_sessions=len(sessions),
        dirty_records=sum(dirty.values()),
        oldest_dirty_s=oldest_dirty_s(engine),
        frozen_records=len(sessions.frozen),
        queue_depth=engine.queue.depth,
        lease_left_s=engine.lease.left_s,
        recoveries=engine.queue.recoveries,
    )


def oldest_dirty_s(engine: Engine) -> float:
    """As `KeeperStatus.oldest_dirty_s`. A queued write counts from its change, or, of a commit alone, from its own time."""
    schedule, now_s = engine.schedule, engine.clock.monotonic_s()
    first_due_s = schedule.first_due_s()
    first_queued_s = now_s
    for write in engine.queue.oldest():
        first_queued_s = min(first_queued_s, write.queued_s)
        for member in write.members:
            first_due_s = min(first_due_s, member.due_s)
    return max(now_s - first_queued_s, schedule.batched_after_s - (first_due_s - now_s), 0.0)
