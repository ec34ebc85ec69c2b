"""Tier 2: changed records are coalesced and written in time, in slices too short to delay a tick; and the sweep."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from realmkeep.errors import RecordError
from realmkeep.keeping.live.session import NEVER, mark_all
from realmkeep.keeping.writing.write_queue import BATCH_MEMBERS, BATCHES_IN_FLIGHT
from realmkeep.records import Tier, peek_marks, written_checksum

if TYPE_CHECKING:
    from collections.abc import Callable

    from realmkeep.clock import Clock
    from realmkeep.config import KeeperConfig
    from realmkeep.keeping.live.flush_schedule import FlushSchedule
    from realmkeep.keeping.live.measures import Measures
    from realmkeep.keeping.live.registry import SessionRegistry
    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.writing.staging import StagedWrite, Stager
    from realmkeep.keeping.writing.write_queue import WriteQueue

log = logging.getLogger(__name__)

ROUND_S: Final = 0.25  # between two looks for due sessions
ROUNDS_A_LEAD: Final = 4  # at least, where intervals are short
# As many as may be in flight. More would leave the cache before they are acknowledged, and commits queue behind them.
AHEAD_WRITES: Final = BATCH_MEMBERS * BATCHES_IN_FLIGHT


class Flusher:
    """Writes every changed record within its tier's interval.

    A write is handed to the store before its change is as old as its interval, three quarters of the lead earlier: 0.75 s,
    or three eighths of an interval under two seconds. The store may take that long for it and for the writes queued before
    it; time beyond that adds to the interval, and so does time in which the event loop stands still.
    """

    def __init__(
        self,
        sessions: SessionRegistry,
        schedule: FlushSchedule,
        queue: WriteQueue,
        stager: Stager,
        clock: Clock,
        config: KeeperConfig,
        measures: Measures,
        on_landed: Callable[[StagedWrite], None],
    ) -> None:
        self._sessions = sessions
        self._schedule = schedule
        self._queue = queue
        self._stager = stager
        self._clock = clock
        self._on_landed = on_landed
        self._measures = measures
        self._slice_s = config.slice_ms / 1000
        self._sweep_s = config.sweep_interval_s
        self._round_s = min(ROUND_S, min(schedule.lead_s_min, self._sweep_s) / ROUNDS_A_LEAD)
        self._sweep_cursor: deque[Session[Any]] = deque()
        self._sweep_share = 0.0
        self._slice_ends_s = 0.0

    async def keep_flushing(self) -> None:
        """Flush and sweep, for ever."""
        while True:
            await self._clock.sleep(self._round_s)
            self._slice_ends_s = self._clock.monotonic_s() + self._slice_s
            await self._flush_due()
            await self._sweep()

    async def _flush_due(self) -> None:
        began_s = self._clock.monotonic_s()
        session: Session[Any] | None = None
        for session in self._schedule.take_due():
            if self._queue.depth >= AHEAD_WRITES:
                await self._queue.room(AHEAD_WRITES)
            self._write_if_writable(session)
            if self._clock.monotonic_s() >= self._slice_ends_s:
                await self._breathe()
        if session is not None:
            self._measures.flush_s.add(self._clock.monotonic_s() - began_s)

    async def write_urgent(self) -> None:
        """Write every escalated session in the turn of the loop after its escalation, for ever."""
        while True:
            self._write_if_writable(await self._schedule.next_urgent())

    async def settled(self, session: Session[Any]) -> None:
        """Return when every change of the session that was escalated or queued so far is durable.

        Raises:
            SessionEnded: The session ended before.
            CommitPending: The store has not answered for a while; the write goes on.
        """
        if self._schedule.take_urgent(session):
            self._write_if_writable(session)
        if session.frozen is not None:
            session.require_usable()
        if session.last_write is not None:
            await session.last_write.wait()

    def _write_if_writable(self, session: Session[Any]) -> None:
        if session.writable:
            self.write(session)

    def write(self, session: Session[Any]) -> None:
        """Queue the session's record as it is now; freeze the session if it cannot be encoded."""
        try:
            write = self._stager.alone(session, now_us=self._clock.wall_us(), queued_s=self._clock.monotonic_s())
        except RecordError as error:
            session.due_s = NEVER  # not due any more: freezing schedules it anew
            self._sessions.freeze(session, error)
        else:
            if session.frozen is not None:
                self._sessions.thaw(session)
            write.on_landed = self._on_landed
            self._queue.put(write)

    async def _breathe(self) -> None:
        """Yield to the event loop, because the slice is used up."""
        await self._clock.sleep(0)
        self._slice_ends_s = self._clock.monotonic_s() + self._slice_s

    async def _sweep(self) -> None:
        """Compare a share of all live records with their last write, so that each is compared once in a sweep interval."""
        if not self._sweep_cursor:
            self._sweep_cursor.extend(self._sessions.live())
            # For one round less than the interval has, because the last round of a pass may have only a few records.
            self._sweep_share = len(self._sweep_cursor) * self._round_s / (self._sweep_s - self._round_s)
        for _ in range(min(len(self._sweep_cursor), int(self._sweep_share) + 1)):
            session = self._sweep_cursor.popleft()
            if self._forgotten(session):
                mark_all(session.record)
                self._schedule.mark(session, Tier.BATCHED)
                self._sessions.report_forgotten_mark(session)
            if self._clock.monotonic_s() >= self._slice_ends_s:
                await self._breathe()

    def _forgotten(self, session: Session[Any]) -> bool:
        """Whether the record differs from its last write although it bears no mark."""
        if not session.writable or session.frozen or peek_marks(session.record):
            return False
        try:
            blob = self._stager.encode(session)
        except RecordError:
            return True  # the write that follows reports the error
        return written_checksum(blob) != session.checksum
