"""Why the promise is not being kept right now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from realmkeep.keeping.ownership.lease import LeaseState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realmkeep.keeping.lifecycle.engine import Engine

LATE_S: Final = 1.0  # a flush that is later than its lead breaks the promise


REASONS: Final = (
    "task_failed",
    "store_lost_data",
    "store_away",
    "restart_barrier",
    "name_taken",
    "lease_lapsed",
    "no_ids",
    "late_flush",
    "frozen_records",
    "kept_letters",
    "rescue_undelivered",
    "unrecovered_records",
    "journal_gap",
    "archive_behind",
)
"""The codes of all reasons."""


class Reason(NamedTuple):
    """A reason why a guarantee does not hold now.

    Attributes:
        code: One of `REASONS`.
        sentence: For people; it changes only with the reason.
    """

    code: str
    sentence: str


def degraded_reasons(engine: Engine) -> Iterator[Reason]:
    """Every reason of this moment; none while the promise is kept."""
    for sentence in engine.background.degraded:
        yield Reason("task_failed", sentence)
    if engine.store_loss.halted:
        yield Reason("store_lost_data", engine.store_loss.halted)
    elif (reason := engine.outage.reason()) is not None:
        yield Reason("store_away", reason)
    if engine.barrier.awaited_servers:
        waits = "the store was restarted and may have lost something: logins wait until these servers have looked: "
        yield Reason("restart_barrier", waits + ", ".join(engine.barrier.awaited_servers))
    if engine.lease.state is LeaseState.REPLACED:
        yield Reason("name_taken", f"another keeper took the name {engine.config.name}")
    elif engine.lease.state is LeaseState.LAPSED:
        lapsed = f"the lease of {engine.config.name} could not be renewed; other servers may take over its players"
        yield Reason("lease_lapsed", lapsed)
    if engine.ids.trouble:
        yield Reason("no_ids", engine.ids.trouble)
    if engine.journal.full_since_us:
        yield Reason("journal_gap", "the journal has a gap: too much of it waits in the store for its archive")
    if engine.changes is not None and engine.changes.trouble:
        yield Reason("archive_behind", engine.changes.trouble)
    yield from _reasons_of_records(engine)


def _reasons_of_records(engine: Engine) -> Iterator[Reason]:
    if engine.schedule.overdue_s() > LATE_S:
        yield Reason("late_flush", "changed records are written late")
    if frozen := engine.sessions.frozen:
        first = next(iter(frozen)).keys.record
        yield Reason("frozen_records", f"{len(frozen)} records cannot be saved as they are, first {first}")
    for sentence in engine.inboxes.reasons():
        yield Reason("kept_letters", sentence)
    for sentence in engine.former.reasons():
        yield Reason("rescue_undelivered", sentence)
    if lost := engine.unrecovered:
        record, why = next(iter(lost.items()))
        unusable = f"{len(lost)} records of the run before cannot be used, first {record}: {why}"
        yield Reason("unrecovered_records", unusable)
