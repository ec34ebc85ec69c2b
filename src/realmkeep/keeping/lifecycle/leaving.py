"""How sessions end: disconnect and grace, the final snapshot, and the release of ownership in the same transaction."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from realmkeep.errors import CommitPending, CommitRefused, KeepingError, RecordError, SessionEnded, SessionFrozen
from realmkeep.keeping.live.session_states import SessionEvent, SessionState

if TYPE_CHECKING:
    from realmkeep.background import Background
    from realmkeep.clock import Clock
    from realmkeep.keeping.lifecycle.aftermath import WriteAftermath
    from realmkeep.keeping.live.hooks import Hooks
    from realmkeep.keeping.live.registry import SessionRegistry
    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.writing.staging import StagedWrite, Stager
    from realmkeep.keeping.writing.write_queue import WriteQueue

log = logging.getLogger(__name__)


class SessionExit:
    """Ends the sessions of one keeper."""

    def __init__(
        self,
        sessions: SessionRegistry,
        background: Background,
        queue: WriteQueue,
        stager: Stager,
        aftermath: WriteAftermath,
        hooks: Hooks,
        clock: Clock,
        *,
        grace_s: float,
    ) -> None:
        self._sessions = sessions
        self._background = background
        self._aftermath = aftermath
        self._queue = queue
        self._stager = stager
        self._hooks = hooks
        self._clock = clock
        self._grace_s = grace_s

    def disconnect(self, session: Session[Any]) -> None:
        """The player is gone: the grace period starts, unless the session is being released already.

        Raises:
            SessionEnded: The session is over.
        """
        if session.state in {SessionState.GRACE, SessionState.LEAVING}:
            return
        self._require_here(session)
        session.move(SessionEvent.DISCONNECTED)
        self._evict_later(session)
        self._hooks.run("disconnect", session.cls, session)

    def resume(self, session: Session[Any]) -> None:
        """The player is back.

        Raises:
            SessionEnded: The session is over.
        """
        if session.state is SessionState.CONNECTED:
            return
        self._require_here(session)
        session.move(SessionEvent.RESUMED)
        self._hooks.run("resume", session.cls, session)

    def _require_here(self, session: Session[Any]) -> None:
        if session.ended or session.state is SessionState.LEAVING:
            session.require_usable()

    def _evict_later(self, session: Session[Any]) -> None:
        name = f"eviction of {session.keys.record}"
        session.grace_timer = self._clock.call_later(
            self._grace_s, lambda: self._background.run(name, self._evict(session))
        )

    async def _evict(self, session: Session[Any]) -> None:
        """The grace ran out."""
        if session.state is not SessionState.GRACE:
            return
        self._hooks.run("evict", session.cls, session)
        try:
            await self.release(session)
        except SessionFrozen:
            self._evict_later(session)
        except (SessionEnded, CommitPending) as error:
            log.info("the eviction of %s: %s", session.keys.record, error)

    def requested(self, session: Session[Any]) -> None:
        """Another server wants the record: a player in grace goes at once; for a connected one the game decides."""
        if session.state is SessionState.CONNECTED:
            self._hooks.run("release_requested", session.cls, session)  # it may disconnect the player
        if session.state is SessionState.GRACE:
            self._background.run(f"release of {session.keys.record} on request", self._evict(session))

    async def release(self, session: Session[Any], *, patient: bool = False) -> None:
        """As `Session.release`; a patient caller waits for the store however long it takes."""
        self._require_here(session)
        write = self._queue_release(session)
        leaving = self._background.run(f"release of {session.keys.record}", self._see_out(session, write))
        try:
            await write.wait(patient=patient)
        except CommitRefused:
            await asyncio.shield(leaving)
            if not session.ended:
                session.require_usable()

    async def _see_out(self, session: Session[Any], write: StagedWrite) -> None:
        """Release anew as often as a commit that the release follows turns out not to have happened.

        A task of its own, because the caller of the release may have stopped waiting.
        """
        while True:
            try:
                await write.wait(patient=True)
            except CommitRefused:
                if session.ended:
                    return
                try:
                    write = self._queue_release(session)
                except KeepingError as error:  # it cannot be saved as it is now: it stays, and is tried again
                    log.error("%s was not released: %s", session.keys.record, error)
                    session.move(SessionEvent.RELEASE_FAILED)
                    self._evict_later(session)
                    return
            except KeepingError:
                return  # the session is lost, and the log says so
            else:
                return

    def _queue_release(self, session: Session[Any]) -> StagedWrite:
        try:
            write = self._stager.alone(
                session, now_us=self._clock.wall_us(), queued_s=self._clock.monotonic_s(), releases=True
            )
        except RecordError as error:
            self._sessions.freeze(session, error)
            session.require_usable()
            raise
        session.move(SessionEvent.RELEASE_QUEUED)
        write.on_landed = partial(self._aftermath.released, session)
        self._queue.put(write)
        return write
