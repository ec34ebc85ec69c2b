"""Why the promise is not being kept right now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from realmkeep.keeping.ownership.lease import LeaseState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realmkeep.keeping.lifecycle.engine import Engine

LATE_S: Final = 1.0  # a flush that is later than its lead breaks the promise


def degraded_reasons(engine: Engine) -> Iterator[str]:
    """One sentence for each, which changes only with the reason; none while the promise is kept."""
    yield from engine.background.degraded
    if engine.store_loss.halted:
        yield engine.store_loss.halted
    elif (reason := engine.outage.reason()) is not None:
        yield reason
    if engine.barrier.awaited_servers:
        yield (
            "the store was restarted and may have lost something: logins wait until these servers have looked: "
            + ", ".join(engine.barrier.awaited_servers)
        )
    if engine.lease.state is LeaseState.REPLACED:
        yield f"another keeper took the name {engine.config.name}"
    elif engine.lease.state is LeaseState.LAPSED:
        yield f"the lease of {engine.config.name} could not be renewed; other servers may take over its players"
    if engine.ids.trouble:
        yield engine.ids.trouble
    if engine.schedule.overdue_s() > LATE_S:
        yield "changed records are written late"
    if frozen := [session.keys.record for session in engine.sessions.live() if session.frozen]:
        yield f"{len(frozen)} records cannot be saved as they are, first {frozen[0]}"
    yield from engine.inboxes.reasons()
    yield from engine.former.reasons()
    if lost := engine.unrecovered:
        record, why = next(iter(lost.items()))
        yield f"{len(lost)} records of the run before cannot be used, first {record}: {why}"
