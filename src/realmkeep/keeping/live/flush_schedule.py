"""When each changed record is due: at once, or within the interval of its tier."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from realmkeep.keeping.live.session import NEVER
from realmkeep.records import CHECKPOINT, Tier

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realmkeep.clock import Clock
    from realmkeep.config import KeeperConfig
    from realmkeep.keeping.live.session import Session

LEAD_S: Final = 1.0  # a flush starts this much early: three quarters of it are the store's
LEAD_SHARE_MAX: Final = 0.5  # of a short interval


class FlushSchedule:
    """The order in which one keeper's changed records are written.

    Batched changes have two queues, because each interval is constant: the session that changed first is due first. Urgent
    sessions wait beside them, for the next turn of the event loop.

    Args:
        clock: The clock.
        config: The intervals.

    Attributes:
        lead_s_min: The shorter of the two leads, in seconds: how late a look at the queues may come.
    """

    def __init__(self, clock: Clock, config: KeeperConfig) -> None:
        self._clock = clock
        # A record that has a batched change does not say when a checkpoint field changes, too: the shorter interval holds.
        batched_s = min(config.flush_interval_s, config.checkpoint_interval_s)
        interval_s = {Tier.BATCHED: batched_s, Tier.CHECKPOINT: config.checkpoint_interval_s}
        lead_s = {tier: min(LEAD_S, LEAD_SHARE_MAX * each_s) for tier, each_s in interval_s.items()}
        self._due_after_s = {tier: each_s - lead_s[tier] for tier, each_s in interval_s.items()}
        self._batched: deque[tuple[float, Session[Any]]] = deque()
        self._checkpoint: deque[tuple[float, Session[Any]]] = deque()
        self._urgent: dict[Session[Any], None] = {}
        self._urgent_waits = asyncio.Event()
        self.lead_s_min = min(lead_s.values())

    def mark(self, session: Session[Any], tier: Tier) -> None:
        """Remember when the session is due, unless it is due sooner already."""
        tier = Tier.CHECKPOINT if tier is CHECKPOINT else Tier.BATCHED
        due_s = self._clock.monotonic_s() + self._due_after_s[tier]
        if due_s < session.due_s:
            session.due_s = due_s
            session.dirty_of_kind.add(session)
            (self._checkpoint if tier is CHECKPOINT else self._batched).append((due_s, session))

    def take_due(self) -> Iterator[Session[Any]]:
        """Take out the sessions that are due, one at a time; more may become due meanwhile."""
        for due in (self._batched, self._checkpoint):
            while due and due[0][0] <= self._clock.monotonic_s():
                due_s, session = due.popleft()
                if session.due_s == due_s:
                    yield session

    def overdue_s(self) -> float:
        """How long the flush that is most behind has been due, in seconds; 0 if none is."""
        return max(0.0, self._clock.monotonic_s() - self.first_due_s())

    def first_due_s(self) -> float:
        """When the first of the changed sessions is due, on the monotonic clock; `NEVER` if none is."""
        return min(_first_due_s(self._batched), _first_due_s(self._checkpoint))

    @property
    def batched_after_s(self) -> float:
        """Seconds from a batched change until it is due."""
        return self._due_after_s[Tier.BATCHED]

    def add_urgent(self, session: Session[Any]) -> bool:
        """Let the session be written at the end of this turn of the event loop; False if it waits for that already."""
        if session in self._urgent:
            return False
        self._urgent[session] = None
        self._urgent_waits.set()
        return True

    def take_urgent(self, session: Session[Any]) -> bool:
        """Take a session out of those that are urgent; whether it was one."""
        return self._urgent.pop(session, self) is None

    async def next_urgent(self) -> Session[Any]:
        """Take out the session that has been urgent for longest; wait for one if there is none."""
        while not self._urgent:
            self._urgent_waits.clear()
            await self._urgent_waits.wait()
        session = next(iter(self._urgent))
        del self._urgent[session]
        return session


def _first_due_s(due: deque[tuple[float, Session[Any]]]) -> float:
    """The first entry that still holds; those before it, of sessions that were written since, are dropped for good."""
    while due:
        due_s, session = due[0]
        if session.due_s == due_s:
            return due_s
        due.popleft()
    return NEVER
