"""The fate of each write that was refused, failed or never answered: read from the store, never guessed.

A record's revision in the store names the last write that landed, because every write guards on the revision before it.
So owner and revision of its records decide each write: landed, to be sent again, refused, or unknown because another server
owns the record by now. A late duplicate of an earlier attempt fails its own guard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from realmkeep.errors import (
    AlreadyExists,
    CommitRefused,
    CommitUnknown,
    OwnershipLost,
    RealmkeepError,
    StorageError,
    StorageMisconfigured,
)
from realmkeep.keeping.recovery.store_loss import FOREIGN
from realmkeep.keeping.recovery.stored_ownership import acknowledged, read_ownership
from realmkeep.keeping.recovery.tail import Entry
from realmkeep.keeping.recovery.verdict import Verdict, Wrote
from realmkeep.keeping.writing.receivers import receiver_refusal
from realmkeep.keeping.writing.staging import RevisionComparison
from realmkeep.keys import SERVER_STORE_ID
from realmkeep.storage import Failed, Guard, Present, Refused, Transaction

if TYPE_CHECKING:
    from collections import deque

    from realmkeep.clock import Clock
    from realmkeep.keeping.live.counters import Counters
    from realmkeep.keeping.live.registry import SessionRegistry
    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.recovery.store_loss import Recovered, StoreLoss
    from realmkeep.keeping.recovery.stored_ownership import StoredOwnership
    from realmkeep.keeping.writing.staging import StagedWrite, WriteMember
    from realmkeep.keeping.writing.write_queue import Trouble
    from realmkeep.storage import Storage, WriteOutcome


class Resolver:
    """Resolves one round of troubled writes.

    Args:
        storage: The store.
        clock: The clock.
        sessions: The live sessions.
        loss: Restores lost writes.
        counters: Counts the writes that did not happen.
    """

    def __init__(
        self, storage: Storage, clock: Clock, sessions: SessionRegistry, loss: StoreLoss, counters: Counters
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._sessions = sessions
        self._loss = loss
        self._counters = counters

    async def resolve(self, troubled: list[Trouble], waiting: deque[StagedWrite]) -> list[StagedWrite]:
        """Settle or fail each write, with all that was built on it, or return it to be sent again, in order.

        Raises:
            StorageError: The store cannot be read now.
            StoreWentBackwards: It lost acknowledged writes, and no operator has allowed to write over it.
        """

        def pending() -> list[StagedWrite]:
            return [trouble.write for trouble in troubled if not trouble.write.done]

        def queued() -> list[StagedWrite]:
            return [*pending(), *waiting]

        held = await self._held(pending())
        looks = [write for write in pending() if isinstance(write, RevisionComparison)]
        is_behind = any(state.verdict(acknowledged(session)).is_behind for session, state in held.items())
        recovered: Recovered | None = None
        # The writes of the queue were built on lost ones, so those are restored first.
        if is_behind or await self._loss.is_suspected(asked=bool(looks)):
            recovered = await self._loss.recover(queued)
            sessions = [member.session for write in queued() for member in write.members]
            stored = recovered.stored
            held = {each: stored[each.keys.record] for each in sessions if each.keys.record in stored}
            # The writes of the queue have not landed yet: one more comparison follows them.
            looks = looks or [RevisionComparison.of(SERVER_STORE_ID, 0, queued_s=self._clock.monotonic_s())]
            waiting.extend(look.make_unequal() for look in looks)
        else:
            self._loss.confirmed()
            for look in looks:
                look.settle()
        writes = [trouble for trouble in troubled if not trouble.write.done and trouble.write not in looks]
        return _Round(self._sessions, held, recovered, self._counters).run(writes, waiting)

    async def _held(self, writes: list[StagedWrite]) -> dict[Session[Any], StoredOwnership]:
        sessions = dict.fromkeys(member.session for write in writes for member in write.members)
        stored = await read_ownership(self._storage, [session.keys for session in sessions])
        return {session: stored[session.keys.record] for session in sessions}


class _Round:
    """One pass over the troubled writes, in their order; no await inside.

    Args:
        sessions: The live sessions.
        held: Owner and revision in the store of each session of the queue.
        recovered: After a loss: the state of the store that the writes follow; None without one.
        counters: Counts the writes that did not happen.
    """

    def __init__(
        self,
        sessions: SessionRegistry,
        held: dict[Session[Any], StoredOwnership],
        recovered: Recovered | None,
        counters: Counters,
    ) -> None:
        self._sessions = sessions
        self._counters = counters
        self._held = held
        self._heads = None if recovered is None else recovered.heads
        self._stored = {session.keys.record: state for session, state in held.items()}
        self._ends: dict[Session[Any], int] = {}
        self._at = {session: state.revision for session, state in held.items()}
        self._lost: dict[Session[Any], None] = {}
        self._reverted: dict[Session[Any], WriteMember] = {}
        self._frozen: dict[Session[Any], RealmkeepError] = {}
        self._foreign: dict[Session[Any], None] = {}

    def run(self, troubled: list[Trouble], waiting: deque[StagedWrite]) -> list[StagedWrite]:
        self._ends = {m.session: m.step.leaves for each in troubled if each.write.releases for m in each.write.members}
        again = [trouble.write for trouble in troubled if self._decide(trouble)]
        kept = [write for write in waiting if not self._depends_on_failed_write(write)]
        waiting.clear()
        waiting.extend(kept)
        for write in kept:
            self._go_over_what_is_there(write)
        for session in self._lost:
            owner = self._held[session].owner
            if session in self._foreign:  # the owner key is still ours, so it names no other server
                self._sessions.lose(session, FOREIGN)
                continue
            self._sessions.lose(
                session, f"owned by {owner.decode(errors='replace')}" if owner else "released by another server"
            )
        for session, member in self._reverted.items():
            if session not in self._lost:  # the record of a lost session is another server's: memory is worth nothing
                self._revert(session, member)
        return again

    def _decide(self, trouble: Trouble) -> bool:
        """Settle or fail the write; True if it is to be sent again."""
        write, outcome = trouble.write, trouble.outcome
        # A transaction is atomic: one record that has it tells that all of them had it.
        if any(self._fate(member) is Verdict.KEPT for member in write.members):
            write.settle()
            return False
        if self._depends_on_failed_write(write):
            return False
        gone = [member.session for member in write.members if self._is_gone(member)]
        if gone:  # another server owns a record of it: its guard would refuse each attempt
            self._lost.update(dict.fromkeys(gone))
            names = ", ".join(session.keys.record for session in gone)
            self._refuse(write, lost=names)
            return False
        if (error := self._final(write, outcome)) is not None:
            if isinstance(outcome, Failed):  # a flush would fail for ever; a commit may be mended by its caller
                self._frozen.update({member.session: error for member in write.members if member.fork is None})
            self._refuse(write, error=error)
            return False
        strange = [member.session for member in write.members if self._at[member.session] != member.step.follows]
        # The claim is ours, and yet the revision is not the one that we left: another program wrote the record.
        if strange and self._heads is None:
            self._foreign.update(dict.fromkeys(strange))
            self._lost.update(dict.fromkeys(strange))
            self._refuse(write, lost=", ".join(session.keys.record for session in strange))
            return False
        for member in write.members:
            self._at[member.session] = member.step.leaves
        self._go_over_what_is_there(write)
        return True

    def _go_over_what_is_there(self, write: StagedWrite) -> None:
        """After a loss: guard the first write of each record with the present revision instead of the lost one.

        A write that was queued while the recovery read the store follows such a write, or a session that was rewritten.
        """
        if self._heads is None or not all(member.session in self._held for member in write.members):
            return
        needs = [
            each for each in write.transaction.needs if not (isinstance(each, Present) and each.key in self._sessions)
        ]
        again = Entry.of(write, 0.0).replayed(self._stored, self._heads)
        write.transaction = Transaction(again.guards, again.effects, needs)

    def _is_gone(self, member: WriteMember) -> bool:
        """Whether another server or program has the record; a foreign value under our claim is decided later."""
        is_ours = self._held[member.session].owner == member.session.claim
        return not is_ours and self._fate(member).is_gone

    def _fate(self, member: WriteMember) -> Verdict:
        session = member.session
        claim = session.claim
        return self._held[session].verdict(Wrote(claim, member.step.leaves, self._ends.get(session)))

    def _final(self, write: StagedWrite, outcome: WriteOutcome) -> RealmkeepError | None:
        """The error that no further attempt can mend; None if one may."""
        if (error := receiver_refusal(outcome)) is not None:
            return error
        if isinstance(outcome, Refused) and isinstance(guard := outcome.guard, Guard):
            own = {each.key for each in write.transaction.guards[: 2 * len(write.members)]}
            if guard.key not in own:
                return AlreadyExists(
                    f"{guard.key} {'exists' if guard.expected is None else 'is not as expected'}",
                    hint="nothing happened; choose another id",
                )
        if isinstance(outcome, Failed) and is_final(outcome.error):
            return outcome.error
        return None

    def _depends_on_failed_write(self, write: StagedWrite) -> bool:
        """Refuse a write if an earlier write of one of its sessions did not happen; True if so."""
        lost = [member.session.keys.record for member in write.members if member.session in self._lost]
        if lost or any(member.session in self._reverted for member in write.members):
            self._refuse(write, lost=", ".join(lost))
            return True
        return False

    def _refuse(self, write: StagedWrite, *, lost: str = "", error: RealmkeepError | None = None) -> None:
        for member in write.members:
            self._reverted.setdefault(member.session, member)
        # An attempt may have landed before the other server claimed the record: only the record tells, at its new owner.
        if error is None and lost and write.maybe_applied:
            error = CommitUnknown(
                f"ownership of {lost} was lost before the store answered", hint="the retry at the new owner tells"
            )
        elif error is None and lost and len(write.members) == 1:
            error = OwnershipLost(
                f"ownership of {lost} was lost; nothing was written", hint="tell the client to reconnect"
            )
        elif error is None:
            why = f"ownership of {lost} was lost" if lost else "it was built on a commit that did not happen"
            error = CommitRefused(f"the commit did not happen: {why}", hint="look at the state and try again")
        is_commit = any(member.fork is not None for member in write.members)
        is_unknown = isinstance(error, CommitUnknown)
        self._counters.note_failed_write(commit=is_commit, release=write.releases, unknown=is_unknown)
        write.fail(error)

    def _revert(self, session: Session[Any], member: WriteMember) -> None:
        """Put the session back to before its first write that did not happen, and escalate it: its changes are not durable."""
        member.take_back()
        if session in self._frozen:
            self._sessions.freeze(session, self._frozen[session])
        else:
            self._sessions.escalate(session)


def is_final(error: StorageError) -> bool:
    """Sending it again cannot mend it; a store that is misconfigured is mended by its operator."""
    return not error.retryable and not isinstance(error, StorageMisconfigured)
