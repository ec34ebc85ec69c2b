"""The live sessions of one server: the only list of them, below every room that enters, writes, loses or ends one."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

from realmkeep.errors import OwnershipLost, TierViolation
from realmkeep.keeping.live.session import EndedRecordObserver, Session
from realmkeep.keeping.live.session_states import SessionEvent
from realmkeep.records import FieldInfo, Tier, observe

if TYPE_CHECKING:
    from collections.abc import ValuesView

    from realmkeep.errors import RealmkeepError
    from realmkeep.keeping.live.counters import Counters
    from realmkeep.keeping.live.flush_schedule import FlushSchedule
    from realmkeep.keeping.live.hooks import Hooks
    from realmkeep.keeping.live.session_states import SessionState

log = logging.getLogger(__name__)


class SessionRegistry:
    """Every session of one server that is not over.

    Args:
        schedule: When changed records are written.
        counters: The keeper's counters.
        hooks: The game's functions.
        strict: Changes that break the rules are refused instead of being written or logged.

    Attributes:
        entering: The tasks that claim and load a record now, by its key.
        closing: No session begins any more.
        draining: As `closing`, while the sessions here are still written; each is released in its turn.
        drains_to: The server to which a drain sends players; empty if any will do.
        dirty: The sessions with changes that are not durable yet, by kind.
        frozen: The sessions whose records cannot be saved as they are, the oldest first.
        census: How many sessions have come into each state and not left it, by kind.
    """

    def __init__(self, schedule: FlushSchedule, counters: Counters, hooks: Hooks, *, strict: bool) -> None:
        self._schedule = schedule
        self._counters = counters
        self._hooks = hooks
        self._strict = strict
        self._live: dict[str, Session[Any]] = {}
        self._ended: dict[str, asyncio.Event] = {}
        self.entering: dict[str, asyncio.Task[Any]] = {}
        self.closing = False
        self.draining = False
        self.drains_to = ""
        self.dirty: defaultdict[str, set[Session[Any]]] = defaultdict(set)
        self.frozen: dict[Session[Any], None] = {}
        self.census: Counter[tuple[str, SessionState]] = Counter()

    def __len__(self) -> int:
        return len(self._live)

    def __contains__(self, record_key: str) -> bool:
        return record_key in self._live

    def get(self, record_key: str) -> Session[Any] | None:
        """The live session of the record with this key; None if there is none."""
        return self._live.get(record_key)

    def live(self) -> ValuesView[Session[Any]]:
        """Every session that may still write, in the order in which they began."""
        return self._live.values()

    def add(self, session: Session[Any]) -> None:
        """A session has begun."""
        self._live[session.keys.record] = session
        self.census[session.keys.kind, session.state] += 1

    def dismiss(self, session: Session[Any], event: SessionEvent) -> None:
        """End a session; nothing more of it is stored. One that is over stays as it is."""
        was_over = session.ended
        session.move(event)
        if was_over:
            return
        key = session.keys.record
        del self._live[key]
        session.dirty_of_kind.discard(session)
        self.frozen.pop(session, None)
        observe(session.record, EndedRecordObserver(key, session.state, self.report_change_after_end))
        self.wake_waiters(session)

    async def wait_until_gone(self, session: Session[Any]) -> None:
        """Return when the session is over, or one of its borrowers has given it back."""
        await self._ended.setdefault(session.keys.record, asyncio.Event()).wait()

    def wake_waiters(self, session: Session[Any]) -> None:
        """Let the callers of `wait_until_gone` go on."""
        if (ended := self._ended.pop(session.keys.record, None)) is not None:
            ended.set()

    def lose(self, session: Session[Any], reason: str) -> None:
        """End a session after another server took its record, and tell the game; does nothing if it is over."""
        if session.ended:
            return
        self.dismiss(session, SessionEvent.TAKEN)
        self._counters.lost += 1
        log.error("%s was lost: %s", session.keys.record, reason)
        self._hooks.run("lost_ownership", session.cls, session, reason)

    def lose_all(self, reason: str) -> None:
        """As `lose`, for every session."""
        for session in list(self._live.values()):
            self.lose(session, reason)

    def freeze(self, session: Session[Any], error: RealmkeepError) -> None:
        """Report a record that cannot be saved as it is; a later write tries again, so a mended record thaws by itself."""
        was_frozen, session.frozen = session.frozen is not None, str(error)
        self.frozen[session] = None
        if not was_frozen:
            self._counters.frozen += 1
            log.error("%s cannot be saved: %s", session.keys.record, error)
            self._hooks.run("frozen", session.cls, session, error)
        self._schedule.mark(session, Tier.BATCHED)

    def thaw(self, session: Session[Any]) -> None:
        """The record can be saved again."""
        session.frozen = None
        self.frozen.pop(session, None)

    def escalate(self, session: Session[Any]) -> None:
        """Have the record written at the end of this turn of the loop, with everything else that changes until then."""
        if not session.ended and self._schedule.add_urgent(session):
            self._counters.escalations += 1

    def report_violation(self, session: Session[Any], violation: TierViolation) -> None:
        """An IMMEDIATE field is about to change outside a commit: refuse that, or have it written at once.

        Raises:
            TierViolation: In strict mode.
        """
        if self._strict:
            raise violation
        self._counters.tier_violations += 1
        log.error("%s; it is written at once", violation.message)
        self.escalate(session)

    def report_change_after_end(self, key: str, state: SessionState, field: FieldInfo) -> None:
        """Count a change of a record after its session was over.

        Raises:
            OwnershipLost: In strict mode.
        """
        self._counters.changes_after_end += 1
        if self._strict:
            raise OwnershipLost(
                f"{key}.{field.name} was changed after its session was {state.value}",
                hint="drop the record when on_lost_ownership or on_evict runs",
            )

    def report_change_while_leaving(self, session: Session[Any]) -> None:
        """Count a change of a record after its final snapshot was taken; that change is not stored."""
        self._counters.changes_after_end += 1
        log.error("%s changed while its session was leaving; that is not stored", session.keys.record)

    def report_forgotten_mark(self, session: Session[Any]) -> None:
        """Count a change that no mark told of, and that the sweep found."""
        self._counters.forgotten_marks += 1
        log.warning("%s changed inside a container without touch(); the sweep found it", session.keys.record)
