"""A store that went backwards: it holds an older revision than it acknowledged.

On a store with a known loss window (fsync once a second) that is what its crash may do, and what was lost is written
again. On a store that promised more it is a broken promise: writing stops until an operator looks.

Sessions that committed together lately are written together, in one transaction, and with them what those commits had put
on keys of nobody here (letters, records created), in their order: healing does not tear what was atomic. What a session
left that was released lately counts as one of them, unless somebody has claimed its record since.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

from realmkeep.errors import (
    CommitRefused,
    CommitUnknown,
    RecordError,
    StorageUnavailable,
    StoreWentBackwards,
    WrongType,
)
from realmkeep.keeping.live.envelope import letter_id
from realmkeep.keeping.recovery.joint_writes import Joint, Rewriting, joint_of, made_or_deleted, wrongly_typed
from realmkeep.keeping.recovery.released_snapshots import Departed, Departures
from realmkeep.keeping.recovery.stored_ownership import acknowledged, is_behind, last_write_of, read_held
from realmkeep.keeping.recovery.verdict import Verdict, Wrote
from realmkeep.keeping.writing.receivers import refused_letters
from realmkeep.keys import SERVER_STORE_ID
from realmkeep.storage import Append, Committed, DropFirst, Failed, Put, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from realmkeep.clock import Clock
    from realmkeep.keeping.letters.inboxes import Inboxes
    from realmkeep.keeping.live.counters import Counters
    from realmkeep.keeping.live.registry import SessionRegistry
    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.ownership.lease import LeaseHolder
    from realmkeep.keeping.ownership.loss_probe import Witnesses
    from realmkeep.keeping.recovery.stored_ownership import K, Kept, StoredOwnership
    from realmkeep.keeping.writing.staging import Member, StagedWrite, Stager
    from realmkeep.keeping.writing.write_queue import Trouble
    from realmkeep.storage import Effect, Storage, WriteOutcome

log = logging.getLogger(__name__)

RECORDS_A_TRANSACTION: Final = 100  # nine keys each stay below the protocol's 1,024
FORGET_AT_ONCE: Final = 4
FOREIGN: Final = "its record was changed in the store by somebody who does not own it"


class Healer:
    """Notices that a store went backwards, and writes again what it lost.

    Args:
        storage: The store.
        clock: The clock.
        stager: Encodes sessions.
        witnesses: Tell a loss.
        sessions: The live sessions.
        lease: Tells since when others cannot have claimed what is ours.
        inboxes: Their letters are told of again.
        counters: Where it is counted.
        heal: Whether to write over a store that had promised to lose nothing.

    Attributes:
        departures: What released sessions left, while a crash of the store may still take it.
        store_id: Which store this was when the keeper opened.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        stager: Stager,
        witnesses: Witnesses,
        sessions: SessionRegistry,
        lease: LeaseHolder,
        inboxes: Inboxes,
        counters: Counters,
        *,
        heal: bool,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._stager = stager
        self._sessions = sessions
        self._lease = lease
        self._inboxes = inboxes
        self._counters = counters
        self._recent: deque[Joint] = deque()
        self._ties: OrderedDict[tuple[str, ...], float] = OrderedDict()
        self._unfinished = False
        self._unwritable: dict[Kept, WrongType] = {}
        self._staged: set[Kept] = set()  # sessions that have moved on to a revision that the store may not hold
        self._always = self.allowed = heal
        self._witnesses = witnesses
        self.store_id = b""
        self.departures = Departures()
        self.halted = ""

    def remember(self, write: StagedWrite) -> None:
        """Keep for a while what an acknowledged write concerned, if it concerned more than one record.

        Of most it is enough who committed together when last: a crowd of traders is a few ties, not every trade.
        """
        has_extra = write.extra_from < len(write.transaction.effects)
        if not has_extra and len(write.members) == 1:
            return
        now_s = self._clock.monotonic_s()
        tie = tuple([member.session.keys.record for member in write.members])
        if has_extra:
            self._recent.append(joint_of(write, now_s))
            tie += made_or_deleted(write)
        if len(tie) > 1:
            self._ties[tie] = now_s
            self._ties.move_to_end(tie)
        self._forget_some()

    def _forget_some(self) -> None:
        """More than one write adds, and never so many that the loop would feel it."""
        safe_s = self._witnesses.safe_s
        for _ in range(FORGET_AT_ONCE):
            if self._recent and self._recent[0].at_s < safe_s:
                self._recent.popleft()
            if self._ties and self._ties[oldest := next(iter(self._ties))] < safe_s:
                del self._ties[oldest]

    def released(self, session: Session[Any], write: StagedWrite) -> None:
        """Keep what a session left whose release was acknowledged, if the store may lose it."""
        if self._storage.capability.loss_window_s == 0:
            return
        departures = self.departures
        departures.forget_before(self._witnesses.safe_s)
        given_up = departures.given_up
        departures.keep(Departed(session, write, self._clock.monotonic_s()))
        if departures.given_up > given_up == 0:
            log.warning("more is released than is kept against a loss of the store: see departed.KEPT_BYTES_MAX")

    def went_backwards(self, held: Mapping[K, StoredOwnership]) -> bool:
        """Whether the store lost something of these."""
        return any(is_behind(kept, state) for kept, state in held.items())

    async def finds_loss(self, *, asked: bool) -> bool:
        """Whether something is to be healed, beyond those whose writes are in trouble: asked to look, or not done yet.

        Raises:
            StorageError: The store cannot be asked.
        """
        if self._unfinished or not asked:
            return self._unfinished
        return self.went_backwards(await read_held(self._storage, [*self._sessions.live(), *self.departures]))

    async def heal(self, troubled: list[Trouble], waiting: deque[StagedWrite]) -> None:
        """Write again what the store lost; settles the writes that this supersedes, and the comparisons.

        Raises:
            StoreWentBackwards: The store had promised not to, and `allowed` is not set.
            StorageError: The store cannot be asked or written now; ask again.
        """
        pending = [trouble.write for trouble in troubled if not trouble.write.done]
        comparisons = [write for write in pending if not write.members]
        here = {kept.keys.record for kept in [*self._sessions.live(), *self.departures]}
        refused = await refused_letters(self._storage, [*pending, *waiting], here)
        sessions = dict.fromkeys([*self._sessions.live(), *_sessions(pending), *_sessions(waiting)])
        departures = list(self.departures)
        held = await read_held(self._storage, [*sessions, *departures])
        if any(state.verdict(last_write_of(kept)).is_behind for kept, state in held.items()):
            await self._check_allowed()
        self._unfinished = True
        self._unwritable = {
            kept: error
            for kept, error in self._unwritable.items()
            if kept in held and await wrongly_typed(self._storage, [Put(key, b"") for key in _own(kept)])
        }
        fates = {session: held[session].verdict(acknowledged(session)) for session in sessions}
        lost = [session for session, fate in fates.items() if fate.is_gone]
        behind: set[Kept] = {session for session, fate in fates.items() if fate.is_behind}
        behind.update(_sessions(pending), self._staged.intersection(sessions))
        for session in lost:
            foreign = fates[session] is Verdict.FOREIGN
            self._sessions.lose(session, FOREIGN if foreign else "claimed while the store had lost its ownership")
        behind.difference_update(lost)
        pending, undone = _undo_what_cannot_be(pending, waiting, lost, held, refused)
        for session in undone:
            self._sessions.escalate(session)
        left_out: set[Kept] = {
            *lost,
            *[session for session in sessions if session in behind and not self._savable(session)],
        }
        behind.update(each for each in departures if held[each].verdict(each.release).is_behind)
        left_out.update(each for each in departures if each in self._unwritable)
        behind -= left_out
        if behind:
            log.critical("the store lost data: writing %d records again", len(behind))
        self._report_torn(departures, lost, behind, held)
        for group in self._groups([kept for kept in held if kept in behind], [*pending, *waiting]):
            await self._rewrite([kept for kept in group if kept not in left_out], held, pending, waiting)
        for write in pending:
            if write.members and not write.done:
                self._answer(write, behind)
        for comparison in comparisons:
            comparison.settle()
        self._unfinished = False
        self._staged.clear()
        self.halted = ""
        self.allowed = self._always

    def _answer(self, write: StagedWrite, written: set[Kept]) -> None:
        """Tell the callers of a write that no single transaction superseded; nobody shall wait for ever."""
        why = "the store lost data, and a record of this write cannot be saved as it is"
        if all(member.session in written for member in write.members):
            write.settle()
        elif not write.releases:
            write.fail(CommitUnknown(why))
        else:  # a session that was leaving tries anew, unless that cannot help
            known = [self._unwritable[m.session] for m in write.members if m.session in self._unwritable]
            write.fail(known[0] if known else CommitRefused(why))

    def _report_torn(
        self, departures: list[Departed], lost: list[Session[Any]], behind: set[Kept], held: dict[Kept, StoredOwnership]
    ) -> None:
        """Whom others claimed before what the store had lost of them was written again; they are left as they are.

        Whether a record that has a later revision by now was claimed before the loss or after it, nobody can tell; it is
        named if it had committed together with one that the store lost something of.
        """
        hurt = {kept.keys.record for kept in (*behind, *lost)}
        tied = {key for tie in self._ties if not hurt.isdisjoint(tie) for key in tie}
        torn = [session.keys.record for session in lost]
        for departed in departures:
            state, key = held[departed], departed.keys.record
            revision = departed.durable_revision + 1 if state.revision is None else state.revision
            if departed in behind or revision == departed.durable_revision:
                continue
            if revision > departed.durable_revision and departed.at_s >= self._lease.unbroken_since_s:
                continue  # whoever claimed it had waited for us
            if revision < departed.durable_revision or key in tied:
                torn.append(key)
            self.departures.forget(key)
        if torn:
            self._counters.torn_records += len(torn)
            log.critical(
                "the store lost data, and others had claimed these records before it could be written again: %s; "
                "what they had given or got in the last moments before the loss may exist twice, or not at all",
                ", ".join(torn),
            )

    async def _check_allowed(self) -> None:
        window_s = self._storage.capability.loss_window_s
        same_store = await self._storage.load(SERVER_STORE_ID) in (self.store_id, None)
        if self.allowed or (window_s != 0 and same_store):
            return
        why = "it had promised to lose nothing" if same_store else "it is another store than at the start"
        self.halted = f"the store holds older data than it acknowledged, and {why}: writing stopped"
        raise StoreWentBackwards(
            self.halted, hint="look at the store; keeper.heal() writes every live session again over what it holds"
        )

    def _savable(self, session: Session[Any]) -> bool:
        try:
            if session in self._unwritable:
                raise self._unwritable[session]
            self._stager.encode(session)
        except (RecordError, WrongType) as error:
            self._sessions.freeze(session, error)
            return False
        return True

    def _groups(self, behind: list[Kept], pending: list[StagedWrite]) -> list[list[Kept]]:
        """What to write again, those together that a joint write ties together."""
        parent: dict[Kept, Kept] = {}

        def root(kept: Kept) -> Kept:
            while (above := parent.setdefault(kept, kept)) is not kept:
                parent[kept] = parent[above]
                kept = above
            return kept

        here: dict[str, Kept] = {kept.keys.record: kept for kept in behind if isinstance(kept, Departed)}
        here.update((session.keys.record, session) for session in self._sessions.live() if not session.ended)
        ties: list[list[Kept]] = [[here[key] for key in tie if key in here] for tie in self._ties]
        ties.extend([m.session for m in write.members if not m.session.ended] for write in pending)
        for tie in ties:
            for other in tie[1:]:
                parent[root(other)] = root(tie[0])
        groups: dict[Kept, list[Kept]] = {}
        wanted = set(behind)
        for kept in [*parent, *behind]:
            group = groups.setdefault(root(kept), [])
            if kept not in group:
                group.append(kept)
        return [
            group[start : start + RECORDS_A_TRANSACTION]
            for group in groups.values()
            if not wanted.isdisjoint(group)
            for start in range(0, len(group), RECORDS_A_TRANSACTION)
        ]

    async def _rewrite(
        self,
        group: list[Kept],
        held: dict[Kept, StoredOwnership],
        pending: list[StagedWrite],
        waiting: deque[StagedWrite],
    ) -> None:
        superseded = [
            write for write in [*pending, *waiting] if write.members and all(m.session in group for m in write.members)
        ]
        joints = self._lost_joints(group, held, superseded)
        rewriting = self._stage(group, held, joints)
        rewriting.earlier.append((0, False, await self._opened_again(group)))
        for write in superseded:
            if write in waiting:
                waiting.remove(write)
        self._staged.update(group)
        (outcome,) = await self._storage.write([rewriting.transaction()])
        if isinstance(outcome, Refused) and outcome.guard in rewriting.beside:
            record = outcome.guard.key.removesuffix(":owner")
            log.error(
                "a record that a lost commit made or deleted is somebody's by now: %s; it is left as it is", record
            )
            (outcome,) = await self._storage.write([rewriting.transaction(without=record)])
        if isinstance(outcome, Failed) and isinstance(outcome.error, WrongType):
            outcome = await self._rewrite_around(rewriting, group) or outcome
        if not isinstance(outcome, Committed):
            waiting.extendleft(reversed([write for write in superseded if write not in pending]))
            raise StorageUnavailable(f"healing was interrupted: {outcome}", hint="it is tried again")
        self._staged.difference_update(group)
        for kept in group:
            self._rewritten(kept)
        self._remember_again(joints, group)
        self._counters.healed_records += len(group)
        for write in superseded:
            if write.releases:  # the record was written again with its owner; its session leaves anew
                write.fail(CommitRefused("the store lost data while the session was leaving", hint="it leaves anew"))
            else:
                write.settle()
        self._inboxes.delivered(dict.fromkeys(receiver for joint in joints for receiver in joint.receivers))
        self._inboxes.deleted(dict.fromkeys(record for joint in joints for record in joint.deleted))

    async def _rewrite_around(self, rewriting: Rewriting, group: list[Kept]) -> WriteOutcome | None:
        """Write what is not concerned by keys that hold something of another type.

        Returns:
            The outcome; None if they are those of records of the group: the next attempt leaves these out.
        """
        broken = await wrongly_typed(self._storage, rewriting.transaction().effects)
        for key, error in broken.items():
            log.critical("the store lost data, and what it lost cannot be written again: %s", error)
            self._unwritable.update({kept: error for kept in group if key in _own(kept)})
        if not broken or not self._unwritable.keys().isdisjoint(group):
            return None
        (outcome,) = await self._storage.write([rewriting.transaction(broken=broken)])
        return outcome

    async def _letters_at(self, key: str, count: int) -> list[bytes]:
        """The first letters there; none where something else lies."""
        try:
            return await self._storage.load_list(key, count=count)
        except WrongType as error:
            log.error("%s", error)
            return []

    async def _opened_again(self, group: list[Kept]) -> list[Effect]:
        """Drop the letters that the crash brought back and that are applied in what is written again.

        They stand first, in their order, as they did when they were dropped. Their receiver may come to life at another
        server next, which knows the last of them only.
        """
        effects: list[Effect] = []
        for kept in group:
            unsafe = kept.ring.letters_since(self._witnesses.safe_s)
            if not unsafe:
                continue
            stored = await self._letters_at(kept.keys.inbox, unsafe)
            back = len(list(takewhile(kept.ring.has_letter, map(letter_id, stored))))
            if back:
                effects.append(DropFirst(kept.keys.inbox, back))
            aside = await self._letters_at(kept.keys.kept, unsafe)
            if any(kept.ring.has_letter(letter_id(letter)) for letter in aside):
                effects.append(DropFirst(kept.keys.kept, len(aside)))
                still = [letter for letter in aside if not kept.ring.has_letter(letter_id(letter))]
                effects += [Append(kept.keys.kept, letter) for letter in still]
        return effects

    def _remember_again(self, joints: list[Joint], group: list[Kept]) -> None:
        """The next crash may take again what was written just now."""
        now_s, keys = self._clock.monotonic_s(), {kept.keys.record for kept in group}
        known = {joint.order for joint in self._recent}
        again = [joint._replace(at_s=now_s) for joint in joints if joint.order in known]
        orders = {joint.order for joint in again}
        self._recent = deque([*(joint for joint in self._recent if joint.order not in orders), *again])
        for tie in [tie for tie in self._ties if not keys.isdisjoint(tie)]:
            self._ties[tie] = now_s
            self._ties.move_to_end(tie)

    def _rewritten(self, kept: Kept) -> None:
        kept.ring.letters_durable(self._clock.monotonic_s())
        if isinstance(kept, Departed):
            kept.at_s = self._clock.monotonic_s()  # the next crash may take it again
            if self.departures.get(kept.keys.record) is kept:
                self.departures.keep(kept)
        else:
            kept.durable_revision = kept.revision
            self._inboxes.notice(kept, kept=True)
        self._witnesses.saw(kept.keys.updated, kept.durable_revision)

    def _lost_joints(
        self, group: list[Kept], held: dict[Kept, StoredOwnership], superseded: list[StagedWrite]
    ) -> list[Joint]:
        """The joint writes of these records that the store does not have."""
        joints = [*self._recent, *(joint_of(write, 0.0) for write in superseded)]
        revisions = {kept.keys.record: held[kept].revision for kept in group}
        return [joint for joint in joints if any((revisions.get(key, left) or 0) < left for key, left in joint.leaves)]

    def _stage(self, group: list[Kept], held: dict[Kept, StoredOwnership], joints: list[Joint]) -> Rewriting:
        rewriting = Rewriting([], [], [], [])
        now_us = self._clock.wall_us()
        for kept in group:
            owner, revision = held[kept]
            if isinstance(kept, Departed):
                effects: list[Effect] = []
                kept.rewrite(owner, revision or 0, rewriting.guards, effects)
                effects += self._stager.leave(kept.keys)
                rewriting.earlier.append((kept.order, False, effects))
            else:
                self._stager.rewrite(kept, owner, revision or 0, now_us, rewriting.guards, rewriting.effects)
        guarded = {key for kept in group for key in (kept.keys.record, kept.keys.owner)}
        for joint in joints:
            rewriting.beside.extend(guard for guard in joint.guards if guard.key not in guarded)
            rewriting.earlier.append((joint.order, True, list(joint.effects)))
        return rewriting


def _own(kept: Kept) -> set[str]:
    return {kept.keys.record, kept.keys.version, kept.keys.ops}


def _sessions(writes: Iterable[StagedWrite]) -> dict[Session[Any], None]:
    return {member.session: None for write in writes for member in write.members}


def _undo_what_cannot_be(
    pending: list[StagedWrite],
    waiting: deque[StagedWrite],
    lost: list[Session[Any]],
    held: dict[Kept, StoredOwnership],
    refused: dict[StagedWrite, CommitRefused],
) -> tuple[list[StagedWrite], list[Session[Any]]]:
    """Fail the writes that concern a lost session or were refused for their letters, and those built on them.

    Returns:
        What is left of `pending`, and the sessions that are as before such a write.
    """
    undone: dict[Session[Any], Member] = {}
    for write in [*pending, *waiting]:
        fates = [held[m.session].verdict(Wrote(m.session.owner_guard.expected or b"", m.leaves)) for m in write.members]
        if Verdict.KEPT in fates:
            write.settle()
        elif write in refused or any(m.session in undone or m.session in lost for m in write.members):
            for member in write.members:
                undone.setdefault(member.session, member)
            error = CommitUnknown if write.maybe_applied else CommitRefused
            why = "the store lost data, and with it what this commit was built on, or the ownership of a record of it"
            write.fail(refused.get(write) or error(why))
    for session, member in undone.items():
        if session not in lost:
            member.take_back()
    kept = [write for write in waiting if not write.done]
    waiting.clear()
    waiting.extend(kept)
    return [write for write in pending if not write.done], [session for session in undone if session not in lost]
