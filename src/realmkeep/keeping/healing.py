"""A store that went backwards: it holds an older revision than it acknowledged.

On a store with a known loss window (fsync once a second) that is what its crash may do, and what was lost is written
again. On a store that promised more it is a broken promise: writing stops until an operator looks.

Sessions that committed together lately are written together, in one transaction, and with them what those commits had put
on keys of nobody here (letters, records created), in their order: healing does not tear what was atomic.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from realmkeep.errors import CommitRefused, CommitUnknown, RecordError, StorageUnavailable, StoreWentBackwards
from realmkeep.keeping.witness import LOSS_S, Witnesses
from realmkeep.keys import SERVER_STORE_ID
from realmkeep.storage import Committed, DropFirst, Refused, Transaction

if TYPE_CHECKING:
    from collections.abc import Iterable

    from realmkeep.clock import Clock
    from realmkeep.errors import RealmkeepError
    from realmkeep.keeping.queue import Trouble
    from realmkeep.keeping.session import Session
    from realmkeep.keeping.staging import Member, StagedWrite, Stager
    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Effect, Guard, Storage

log = logging.getLogger(__name__)

TOKEN_DIGITS_MAX: Final = 18  # microseconds until the year 33658
SESSIONS_A_TRANSACTION: Final = 128  # six keys each stay below the protocol's 1,024


class Held(NamedTuple):
    """What the store holds of a record: its owner and its revision (0: none)."""

    owner: bytes | None
    revision: int

    def is_ours(self, session: Session[Any]) -> bool:
        """The owner is this very session."""
        return self.owner == session.owner_guard.expected

    def is_lost(self, session: Session[Any]) -> bool:
        """The owner is a later one: claims of a record have rising tokens."""
        return self.owner is not None and not self.is_ours(session) and _token(self.owner) > session.token

    def is_behind(self, session: Session[Any]) -> bool:
        """The store lost something of it: a revision that it acknowledged, or our claim.

        Nobody owns it, or an earlier owner, at our own revision or before it: a later one would have left a later one.
        """
        if self.is_ours(session):
            return self.revision < session.durable_revision
        return self.revision <= session.durable_revision and not self.is_lost(session)


async def read_held(storage: Storage, sessions: Iterable[Session[Any]]) -> dict[Session[Any], Held]:
    """Owner and revision of every session's record, as the store holds them.

    Raises:
        StorageError: The store cannot be asked.
    """
    order = list(sessions)
    keys = [key for session in order for key in (session.keys.owner, session.keys.updated)]
    found: list[bytes | None] = []
    for start in range(0, len(keys), 1000):
        found.extend(await storage.load_many(keys[start : start + 1000]))
    pairs = zip(found[::2], found[1::2], strict=True)
    return {session: Held(owner, int(updated or b"0")) for session, (owner, updated) in zip(order, pairs, strict=True)}


class Realm(Protocol):
    """What healing asks of the keeper."""

    store_id: bytes

    def live(self) -> Iterable[Session[Any]]:
        """Every session that may still write."""
        ...

    def lose(self, session: Session[Any], reason: str) -> None:
        """Another server owns its record."""
        ...

    def freeze(self, session: Session[Any], error: RealmkeepError) -> None:
        """Its record cannot be saved as it is."""
        ...

    def escalate(self, session: Session[Any]) -> None:
        """Write it at once."""
        ...

    def notice_letters(self, session: Session[Any]) -> None:
        """Its inbox may have changed."""
        ...

    def delivered(self, receivers: Iterable[RecordKeys]) -> None:
        """Letters to these are durable."""
        ...


class _Joint(NamedTuple):
    """What is remembered of a write that concerned more than one record: whom it advanced, and its other effects."""

    at_s: float
    leaves: tuple[tuple[Session[Any], int], ...]
    guards: tuple[Guard, ...]
    effects: tuple[Effect, ...]
    receivers: tuple[RecordKeys, ...]


def _joint(write: StagedWrite, at_s: float) -> _Joint:
    # The owner alone drops letters; the letters that came back are told by their ids.
    extra = tuple(effect for effect in write.extra if not isinstance(effect, DropFirst))
    guards = tuple(write.transaction.guards[2 * len(write.members) :])
    leaves = tuple((member.session, member.leaves) for member in write.members)
    return _Joint(at_s, leaves, guards, extra, tuple(write.receivers))


class Healer:
    """Notices that a store went backwards, and writes again what it lost.

    Args:
        storage: The store.
        clock: The clock.
        stager: Encodes sessions.
        realm: The keeper.
        heal: Whether to write over a store that had promised to lose nothing.
        notice_s: How long a loss may go unnoticed: the lease is renewed that often, and its beat is in the store, too.
    """

    def __init__(
        self, storage: Storage, clock: Clock, stager: Stager, realm: Realm, *, heal: bool, notice_s: float
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._stager = stager
        self._realm = realm
        self._recent: deque[_Joint] = deque()
        self._ties: OrderedDict[tuple[Session[Any], ...], float] = OrderedDict()
        self._remember_s = LOSS_S + notice_s
        self._always = self.allowed = heal
        self.witnesses = Witnesses(clock)
        self.halted = ""
        self.healed_sessions = 0

    def remember(self, write: StagedWrite) -> None:
        """Keep for a while what an acknowledged write concerned, if it concerned more than one record.

        Of most it is enough who committed together when last: a crowd of traders is a few ties, not every trade.
        """
        now_s = self._clock.monotonic_s()
        old_s = now_s - self._remember_s
        if write.extra_from < len(write.transaction.effects):
            self._recent.append(_joint(write, now_s))
            while self._recent[0].at_s < old_s:
                self._recent.popleft()
        if len(write.members) > 1:
            tie = tuple([member.session for member in write.members])
            self._ties[tie] = now_s
            self._ties.move_to_end(tie)
            while self._ties[oldest := next(iter(self._ties))] < old_s:
                del self._ties[oldest]

    def went_backwards(self, held: dict[Session[Any], Held]) -> bool:
        """Whether the store lost something of these."""
        return any(state.is_behind(session) for session, state in held.items())

    async def heal(self, troubled: list[Trouble], waiting: deque[StagedWrite]) -> None:
        """Write every live session again that the store lost something of; settles the writes that this supersedes.

        Raises:
            StoreWentBackwards: The store had promised not to, and `allowed` is not set.
            StorageError: The store cannot be asked or written now; ask again.
        """
        pending = [trouble.write for trouble in troubled]
        sessions = dict.fromkeys([*self._realm.live(), *_sessions(pending), *_sessions(waiting)])
        held = await read_held(self._storage, sessions)
        if any(
            state.revision < session.durable_revision and not state.is_lost(session) for session, state in held.items()
        ):
            await self._check_allowed()
        lost = [session for session, state in held.items() if state.is_lost(session)]
        behind = {session for session, state in held.items() if state.is_behind(session)}
        behind.update(_sessions(pending))
        for session in lost:
            self._realm.lose(session, "claimed while the store had lost its ownership")
        behind.difference_update(lost)
        pending, undone = _undo_what_lost_a_member(pending, waiting, lost, held)
        for session in undone:
            self._realm.escalate(session)
        behind.difference_update([session for session in behind if not self._savable(session)])
        log.critical("the store lost data: writing %d sessions again", len(behind))
        for group in self._groups(behind, [*pending, *waiting]):
            await self._rewrite([session for session in group if session not in lost], held, pending, waiting)
        self.halted = ""
        self.allowed = self._always

    async def _check_allowed(self) -> None:
        window_s = self._storage.capability.loss_window_s
        same_store = await self._storage.load(SERVER_STORE_ID) in (self._realm.store_id, None)
        if self.allowed or (window_s != 0 and same_store):
            return
        why = "it had promised to lose nothing" if same_store else "it is another store than at the start"
        self.halted = f"the store holds older data than it acknowledged, and {why}: writing stopped"
        raise StoreWentBackwards(
            self.halted, hint="look at the store; keeper.heal() writes every live session again over what it holds"
        )

    def _savable(self, session: Session[Any]) -> bool:
        try:
            self._stager.encode(session)
        except RecordError as error:
            self._realm.freeze(session, error)
            return False
        return True

    def _groups(self, behind: set[Session[Any]], pending: list[StagedWrite]) -> list[list[Session[Any]]]:
        """The sessions to write again, those together that a joint write ties together."""
        parent: dict[Session[Any], Session[Any]] = {}

        def root(session: Session[Any]) -> Session[Any]:
            while (above := parent.setdefault(session, session)) is not session:
                parent[session] = parent[above]
                session = above
            return session

        ties: list[Iterable[Session[Any]]] = [*self._ties]
        ties.extend([member.session for member in write.members] for write in pending)
        for tie in ties:
            alive = [session for session in tie if not session.ended]
            for other in alive[1:]:
                parent[root(other)] = root(alive[0])
        groups: dict[Session[Any], list[Session[Any]]] = {}
        for session in [*parent, *behind]:
            group = groups.setdefault(root(session), [])
            if session not in group:
                group.append(session)
        return [
            group[start : start + SESSIONS_A_TRANSACTION]
            for group in groups.values()
            if not behind.isdisjoint(group)
            for start in range(0, len(group), SESSIONS_A_TRANSACTION)
        ]

    async def _rewrite(
        self,
        group: list[Session[Any]],
        held: dict[Session[Any], Held],
        pending: list[StagedWrite],
        waiting: deque[StagedWrite],
    ) -> None:
        superseded = [
            write for write in [*pending, *waiting] if write.members and all(m.session in group for m in write.members)
        ]
        joints = self._lost_joints(group, held, superseded)
        transaction = self._stage(group, held, joints)
        for write in superseded:
            if write in waiting:
                waiting.remove(write)
        (outcome,) = await self._storage.write([transaction])
        if isinstance(outcome, Refused) and outcome.guard in transaction.guards[2 * len(group) :]:
            log.error("a record created by a lost commit exists by now: %s; it is left as it is", outcome.guard.key)
            bare = Transaction(
                transaction.guards[: 2 * len(group)], [e for e in transaction.effects if e.key != outcome.guard.key]
            )
            (outcome,) = await self._storage.write([bare])
        if not isinstance(outcome, Committed):
            waiting.extendleft(reversed([write for write in superseded if write not in pending]))
            raise StorageUnavailable(f"healing was interrupted: {outcome}", hint="it is tried again")
        for session in group:
            session.durable_revision = session.revision
            self.witnesses.saw(session.keys.updated, session.revision)
            self._realm.notice_letters(session)
        self.healed_sessions += len(group)
        for write in superseded:
            if write.releases:  # the record was written again with its owner; its session leaves anew
                write.fail(CommitRefused("the store lost data while the session was leaving", hint="it leaves anew"))
            else:
                write.settle()
        self._realm.delivered(dict.fromkeys(receiver for joint in joints for receiver in joint.receivers))

    def _lost_joints(
        self, group: list[Session[Any]], held: dict[Session[Any], Held], superseded: list[StagedWrite]
    ) -> list[_Joint]:
        """The joint writes of these sessions that the store does not have, in their order."""
        joints = [*self._recent, *(_joint(write, 0.0) for write in superseded)]
        return [joint for joint in joints if any(s in group and held[s].revision < left for s, left in joint.leaves)]

    def _stage(self, group: list[Session[Any]], held: dict[Session[Any], Held], joints: list[_Joint]) -> Transaction:
        guards: list[Guard] = []
        effects: list[Effect] = []
        now_us = self._clock.wall_us()
        for session in group:
            self._stager.rewrite(session, held[session].owner, held[session].revision, now_us, guards, effects)
        for joint in joints:
            guards.extend(joint.guards)
            effects.extend(joint.effects)
        return Transaction(guards, effects)


def _token(owner: bytes) -> int:
    token = owner.rpartition(b"/")[2]
    return int(token) if token.isdigit() and len(token) <= TOKEN_DIGITS_MAX else 0


def _sessions(writes: Iterable[StagedWrite]) -> dict[Session[Any], None]:
    return {member.session: None for write in writes for member in write.members}


def _undo_what_lost_a_member(
    pending: list[StagedWrite],
    waiting: deque[StagedWrite],
    lost: list[Session[Any]],
    held: dict[Session[Any], Held],
) -> tuple[list[StagedWrite], list[Session[Any]]]:
    """Fail the writes that concern a lost session, and those built on them.

    Returns:
        What is left of `pending`, and the sessions that are as before such a write.
    """
    undone: dict[Session[Any], Member] = {}
    for write in [*pending, *waiting]:
        if any(held[m.session].is_ours(m.session) and held[m.session].revision >= m.leaves for m in write.members):
            write.settle()
        elif any(member.session in undone or member.session in lost for member in write.members):
            for member in write.members:
                undone.setdefault(member.session, member)
            error = CommitUnknown if write.maybe_applied else CommitRefused
            write.fail(error("the store lost data, and with it the ownership of a record of this commit"))
    for session, member in undone.items():
        if session not in lost:
            member.take_back()
    kept = [write for write in waiting if not write.done]
    waiting.clear()
    waiting.extend(kept)
    return [write for write in pending if not write.done], [session for session in undone if session not in lost]
