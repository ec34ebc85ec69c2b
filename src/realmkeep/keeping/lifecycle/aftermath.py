"""The steps after a durable write: after a commit, a batched write, and the release of a record."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from realmkeep.keeping.live.session_states import SessionEvent
from realmkeep.records import peek_marks

if TYPE_CHECKING:
    from realmkeep.background import Background
    from realmkeep.clock import Clock
    from realmkeep.keeping.letters.inboxes import InboxDrainer
    from realmkeep.keeping.live.counters import Counters
    from realmkeep.keeping.live.measures import Histogram
    from realmkeep.keeping.live.registry import SessionRegistry
    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.recovery.store_loss import StoreLoss
    from realmkeep.keeping.writing.change_feed import ChangeFeed
    from realmkeep.keeping.writing.staging import StagedWrite


class WriteAftermath:
    """Acts on durable writes, before their callers hear of them.

    A defect here is reported as that of a background task; it must not keep callers waiting for a write that is durable.
    """

    def __init__(
        self,
        sessions: SessionRegistry,
        store_loss: StoreLoss,
        inboxes: InboxDrainer,
        background: Background,
        clock: Clock,
        counters: Counters,
        commit_s: Histogram,
        changes: ChangeFeed | None,
    ) -> None:
        self._sessions = sessions
        self._store_loss = store_loss
        self._inboxes = inboxes
        self._background = background
        self._clock = clock
        self._counters = counters
        self._commit_s = commit_s
        self._changes = changes

    def flushed(self, write: StagedWrite) -> None:
        """Count the batched write."""
        self._counters.flushes += 1
        if self._changes is not None:
            self._changes.landed(write)

    def committed(self, write: StagedWrite) -> None:
        """Remember the commit while a crash of the store may take it, and tell the receivers of its letters."""
        try:
            self._counters.commits_durable += 1
            self._commit_s.add(self._clock.monotonic_s() - write.queued_s)
            self._store_loss.remember(write)
            if self._changes is not None:
                self._changes.landed(write)
            if write.receivers:
                self._counters.letters_sent += len(write.receivers)
                self._inboxes.delivered(write.receivers)
            if write.deleted:
                self._inboxes.deleted(write.deleted)
        except Exception as error:  # noqa: BLE001 - a defect of ours, whatever it is; its write is settled all the same
            self._background.report_failure("what follows a commit", error)

    def released(self, session: Session[Any], write: StagedWrite) -> None:
        """End the session; remember its final snapshot while a crash of the store may take it."""
        try:
            self._counters.releases += 1
            if peek_marks(session.record):
                self._sessions.report_change_while_leaving(session)
            self._store_loss.released(write)
            if self._changes is not None:
                self._changes.landed(write)
        except Exception as error:  # noqa: BLE001 - as above
            self._background.report_failure("what follows a release", error)
        self._sessions.dismiss(session, SessionEvent.RELEASED)
