"""Tier 2: changed records are written in time, coalesced, in slices that the tick does not notice; and the sweep."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Protocol

from realmkeep.errors import RecordError
from realmkeep.keeping.live.session import NEVER, mark_all
from realmkeep.keeping.writing.write_queue import BATCH_WRITES, BATCHES_IN_FLIGHT
from realmkeep.records import CHECKPOINT, Tier, peek_marks, written_checksum

if TYPE_CHECKING:
    from collections.abc import Collection

    from realmkeep.clock import Clock
    from realmkeep.config import KeeperConfig
    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.writing.staging import Stager
    from realmkeep.keeping.writing.write_queue import WriteQueue

log = logging.getLogger(__name__)

ROUND_S: Final = 0.25  # how often what is due is looked for
ROUNDS_A_LEAD: Final = 4  # at least, where intervals are short
LEAD_S: Final = 1.0  # a flush starts this much early: three quarters of it are the store's
LEAD_SHARE_MAX: Final = 0.5  # of a short interval
# What may be in flight. More would leave the cache before they are acknowledged, and commits queue behind them.
AHEAD_WRITES: Final = BATCH_WRITES * BATCHES_IN_FLIGHT


class Sessions(Protocol):
    """What the flusher asks of the keeper."""

    def live(self) -> Collection[Session[Any]]:
        """Every session that may still write."""
        ...

    def freeze(self, session: Session[Any], error: RecordError) -> None:
        """Its record cannot be saved as it is."""
        ...

    def forgotten(self, session: Session[Any]) -> None:
        """The sweep found a change that nobody had marked."""
        ...


class Flusher:
    """Writes every changed record within its tier's interval.

    A write is handed to the store before the change is older than its interval, by three quarters of the lead: 0.75 s, or
    three eighths of an interval under two seconds. What the store takes beyond that, with what is queued before it, comes on
    top; and so does the time in which the event loop stands still.

    Two queues, because each interval is constant: the session that changed first is due first.
    """

    def __init__(
        self, sessions: Sessions, queue: WriteQueue, stager: Stager, clock: Clock, config: KeeperConfig
    ) -> None:
        self._sessions = sessions
        self._queue = queue
        self._stager = stager
        self._clock = clock
        self._slice_s = config.slice_ms / 1000
        self._sweep_s = config.sweep_interval_s
        # A record that has a batched change does not say when a checkpoint field changes, too: the shorter interval holds.
        batched_s = min(config.flush_interval_s, config.checkpoint_interval_s)
        interval_s = {Tier.BATCHED: batched_s, Tier.CHECKPOINT: config.checkpoint_interval_s}
        lead_s = {tier: min(LEAD_S, LEAD_SHARE_MAX * each_s) for tier, each_s in interval_s.items()}
        self._due_after_s = {tier: each_s - lead_s[tier] for tier, each_s in interval_s.items()}
        self._round_s = min(ROUND_S, min(*lead_s.values(), self._sweep_s) / ROUNDS_A_LEAD)
        self._batched: deque[tuple[float, Session[Any]]] = deque()
        self._checkpoint: deque[tuple[float, Session[Any]]] = deque()
        self._sweep_cursor: deque[Session[Any]] = deque()
        self._sweep_share = 0.0
        self._slice_ends_s = 0.0

    def marked(self, session: Session[Any], tier: Tier) -> None:
        """Remember when the session is due."""
        tier = Tier.CHECKPOINT if tier is CHECKPOINT else Tier.BATCHED
        due_s = self._clock.monotonic_s() + self._due_after_s[tier]
        if due_s < session.due_s:
            session.due_s = due_s
            (self._checkpoint if tier is CHECKPOINT else self._batched).append((due_s, session))

    def overdue_s(self) -> float:
        """How long the flush that is most behind has been due, in seconds; 0 if none is."""
        waiting = ((due_s, session) for due in (self._batched, self._checkpoint) for due_s, session in due)
        first_due_s = next((due_s for due_s, session in waiting if session.due_s == due_s), NEVER)
        return max(0.0, self._clock.monotonic_s() - first_due_s)

    async def run(self) -> None:
        """Flush and sweep, for ever."""
        while True:
            await self._clock.sleep(self._round_s)
            self._slice_ends_s = self._clock.monotonic_s() + self._slice_s
            await self._flush_due()
            await self._sweep()

    async def _flush_due(self) -> None:
        for due in (self._batched, self._checkpoint):
            while due and due[0][0] <= self._clock.monotonic_s():
                due_s, session = due.popleft()
                if session.due_s == due_s:
                    await self._queue_write(session)

    async def _queue_write(self, session: Session[Any]) -> None:
        if self._queue.depth >= AHEAD_WRITES:
            await self._queue.room(AHEAD_WRITES)
        if session.writable:
            self.write(session)
        if self._clock.monotonic_s() >= self._slice_ends_s:
            await self._breathe()

    def write(self, session: Session[Any]) -> None:
        """Queue the session's record as it is now; freeze the session if it cannot be encoded."""
        try:
            write = self._stager.alone(session, now_us=self._clock.wall_us(), queued_s=self._clock.monotonic_s())
        except RecordError as error:
            session.due_s = self._clock.monotonic_s() + self._due_after_s[Tier.BATCHED]
            self._batched.append((session.due_s, session))
            self._sessions.freeze(session, error)
        else:
            session.frozen = None
            self._queue.put(write)

    async def _breathe(self) -> None:
        """Yield to the loop: the slice is used up."""
        await self._clock.sleep(0)
        self._slice_ends_s = self._clock.monotonic_s() + self._slice_s

    async def _sweep(self) -> None:
        """Look at a share of all live records, so that each is looked at once in an interval."""
        if not self._sweep_cursor:
            self._sweep_cursor.extend(self._sessions.live())
            # A round less than there are: the last one of a pass may be begun for a few.
            self._sweep_share = len(self._sweep_cursor) * self._round_s / (self._sweep_s - self._round_s)
        for _ in range(min(len(self._sweep_cursor), int(self._sweep_share) + 1)):
            session = self._sweep_cursor.popleft()
            if self._forgotten(session):
                mark_all(session.record)
                self.marked(session, Tier.BATCHED)
                self._sessions.forgotten(session)
            if self._clock.monotonic_s() >= self._slice_ends_s:
                await self._breathe()

    def _forgotten(self, session: Session[Any]) -> bool:
        """Whether the record differs from what was written last, and nobody marked it."""
        if not session.writable or session.frozen or peek_marks(session.record):
            return False
        try:
            blob = self._stager.encode(session)
        except RecordError:
            return True  # the write that follows says what is wrong
        return written_checksum(blob) != session.checksum
