"""From a live record to a transaction: encode it, guard owner and revision, and keep the state for an undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep.keeping.live.pending_write import PendingWrite
from realmkeep.keeping.live.session import NEVER, mark_all
from realmkeep.keeping.ownership.safe_point import LEFT_KEEP_S
from realmkeep.records import take_marks, written_checksum
from realmkeep.storage import Advance, Delete, Guard, Put, Step, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realmkeep.errors import RealmkeepError
    from realmkeep.keeping.live.op_ring import RingState
    from realmkeep.keeping.live.record_encoder import RecordEncoder
    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.ownership.safe_point import SafePoint
    from realmkeep.keeping.writing.journal import Journal
    from realmkeep.keys import RecordKeys
    from realmkeep.records import Fork
    from realmkeep.storage import Append, Effect, Need


NOTHING: Final = Transaction((), ())


class WriteMember(msgspec.Struct, eq=False):
    """One session's part in a write.

    Attributes:
        session: The session.
        step: The revision that the write follows, the one that it leaves, and the bytes of the record.
        fork: The record before the commit's function ran; None if the write is no commit.
        ring: The operations of the record without those that the write itself carries.
        version_was: The schema version of the record in the store before the write.
        checksum_was: The checksum of the record's bytes there.
        due_s: When the session was due.
        is_plain: The write puts nothing beside the record, its revision and its operations.
    """

    session: Session[Any]
    step: Step
    fork: Fork[Any] | None
    ring: RingState
    version_was: int
    checksum_was: bytes
    due_s: float
    is_plain: bool

    def take_back(self) -> None:
        """Undo the session's part after a write that did not happen, and mark the whole record for the next write."""
        session = self.session
        if self.fork is not None:
            session.record.restore(self.fork)
            session.ring.revert(self.ring)
        # A late duplicate of an attempt may still come. Its guards name revisions that no write may leave a second time.
        session.revision_min = session.revision + 1
        session.revision = self.step.follows
        session.stored_version = self.version_was
        session.checksum = self.checksum_was
        mark_all(session.record)


class StagedWrite(PendingWrite):
    """A write of live sessions.

    Attributes:
        members: The sessions that it advances; the guards on owner and revision of each stand first in the transaction.
        releases: It gives up the ownership of its member.
        has_extra: It has effects on keys that no local session owns: letters, records created or deleted.
        has_entry: It has an entry of the journal.
        receivers: The records to which it delivers letters.
        deleted: The records that it deletes.
        created: The records that it creates.
        spent: Letters that it opens or returns.
        on_landed: Called once it is durable, before waiting callers are told.
    """

    members: tuple[WriteMember, ...] = ()
    on_landed: Callable[[StagedWrite], None] | None = None
    has_extra: bool = False
    has_entry: bool = False
    releases: bool = False
    receivers: Sequence[RecordKeys] = ()
    deleted: Sequence[RecordKeys] = ()
    created: Sequence[RecordKeys] = ()
    spent: Sequence[bytes] = ()

    def settle(self) -> None:
        """End the write as landed: the revisions of its members are durable."""
        for member in self.members:
            member.session.raise_durable_revision(member.step.leaves)
        if self.on_landed is not None:
            self.on_landed(self)
        super().settle()
        self._forget()

    def fail(self, error: RealmkeepError) -> None:
        """End the write as failed: it did not happen, or its outcome is unknown."""
        super().fail(error)
        self._forget()

    def _forget(self) -> None:
        # Sessions refer to their last write; without this its bytes and forks would stay in memory, and in a reference cycle.
        landed = self.landed
        for member in self.members:
            session = member.session
            session.ring.detach_write(self)
            if landed and session.last_write is self:
                session.last_write = None
        self.transaction = NOTHING
        self.members = self.receivers = self.deleted = self.created = self.spent = ()
        self.on_landed = None


class RevisionComparison(StagedWrite):
    """A write without a change: compares, in its place among the writes, the revision in the store with the expected one.

    If they differ, the queue halts and the resolver finds the lost writes; the comparison lands once they are restored.
    """

    @classmethod
    def of(cls, updated_key: str, revision: int, *, queued_s: float) -> RevisionComparison:
        """Compare with `revision`."""
        return cls(Transaction((Guard(updated_key, b"%d" % revision),), ()), queued_s)

    def make_unequal(self) -> RevisionComparison:
        """Make it fail in any case, so that the resolver looks again once all writes before it are answered."""
        self.transaction = Transaction((Guard(self.transaction.guards[0].key, b""),), ())
        return self


def created_or_deleted(write: StagedWrite) -> tuple[str, ...]:
    """The keys of the records that a write creates or deletes."""
    guards = write.transaction.guards[2 * len(write.members) :]
    return tuple([guard.key.removesuffix(":owner") for guard in guards if guard.key.endswith(":owner")])


def whole(
    members: Sequence[WriteMember],
    *,
    rings: Sequence[Effect] = (),
    guards: Sequence[Guard] = (),
    beside: Sequence[Effect] = (),
    needs: Sequence[Need] = (),
    entry: Append | None = None,
) -> Transaction:
    """A write in full, for one that is more than an `Advance`.

    Args:
        members: The sessions that it advances.
        rings: The op rings that are put anew.
        guards: Guards on other keys than theirs.
        beside: Effects on other keys, after theirs.
        needs: Its needs.
        entry: Its entry of the journal.
    """
    advance = Advance(tuple([member.step for member in members]))
    held = advance.guards
    for at, member in enumerate(members):
        if not member.step.follows:  # the record was stored without a revision
            held[2 * at + 1] = Guard(member.step.of.updated, None)
    versions = [_version(member) for member in members if member.version_was != member.session.stored_version]
    entries = () if entry is None else (entry,)
    return Transaction([*held, *guards], [*advance.effects, *versions, *rings, *beside, *entries], needs)


def _version(member: WriteMember) -> Put:
    return Put(member.session.keys.version, b"%d" % member.session.stored_version)


class Stager:
    """Makes the transactions of one keeper.

    Args:
        encoder: Encodes records.
        safe_point: Says whether the store may lose its last writes.
        identity: Names this run of the server in the notes for later owners.
        journal: Gets snapshots.
    """

    def __init__(self, encoder: RecordEncoder, safe_point: SafePoint, identity: bytes, journal: Journal) -> None:
        self._encoder = encoder
        self._journal = journal
        self._safe_point = safe_point
        self._identity = identity

    def encode(self, session: Session[Any]) -> bytes:
        """The record's bytes, checked as a loaded one is.

        Raises:
            InvalidRecord: The record breaks its rules.
            RecordTooLarge: It exceeds the cap.
            Unstorable: The record holds a value that cannot be stored.
        """
        return self._encoder.encode_record(session.record, session.keys.record)

    def advance(
        self,
        session: Session[Any],
        blob: bytes,
        now_us: int,
        fork: Fork[Any] | None = None,
        ring: RingState | None = None,
        line: bytes = b"",
    ) -> WriteMember:
        """Move the session on to its next revision.

        Args:
            session: The session.
            blob: Its record's bytes.
            now_us: Wall time.
            fork: The record before the commit; None without one.
            ring: The op ring before the commit; None without one.
            line: The addition to its stored op ring.
        """
        follows, version_was = session.revision, session.stored_version
        version = session.version
        # Not below the token of the claim, so that the next claim takes a later one even if a clock was set back in between.
        leaves = max(now_us, follows + 1, session.revision_min)
        member = WriteMember(
            session,
            Step(session.owned, follows, leaves, blob, line),
            fork,
            ring or session.ring.snapshot(),
            version_was,
            session.checksum,
            session.due_s,
            follows > 0 and version_was == version,
        )
        session.stored_version = version
        session.revision = leaves
        session.checksum = written_checksum(blob)
        session.due_s = NEVER
        session.dirty_of_kind.add(session)
        take_marks(session.record)
        return member

    def leave(self, keys: RecordKeys) -> list[Effect]:
        """The note for the next owner of a record that this server created, changed or deleted it moments ago."""
        return [Put(keys.left, self._identity, expire_s=LEFT_KEEP_S)] if self._safe_point.needed else []

    def take_as_stored(self, session: Session[Any]) -> None:
        """Take the record's present state for the stored one; the sweep compares with it."""
        session.checksum = written_checksum(self.encode(session))

    def rewrite(
        self,
        session: Session[Any],
        owner: bytes | None,
        updated: bytes | None,
        now_us: int,
    ) -> Transaction:
        """A transaction that replaces the older state of a session in a store that lost writes.

        Raises:
            InvalidRecord: The record breaks its rules.
            RecordTooLarge: It exceeds the cap.
            Unstorable: The record holds a value that cannot be stored.
        """
        keys = session.keys
        session.stored_version = 0
        member = self.advance(session, self.encode(session), max(now_us, session.revision + 1))
        effects = [*Advance((member.step,)).effects, _version(member)]
        if owner != session.claim:
            effects.append(Put(keys.owner, session.claim))
        if session.ring:
            effects.append(Put(keys.ops, session.ring.encode()))
        return Transaction([Guard(keys.owner, owner), Guard(keys.updated, updated)], effects)

    def alone(self, session: Session[Any], *, now_us: int, queued_s: float, releases: bool = False) -> StagedWrite:
        """A write of one session in its present state.

        Args:
            session: The session.
            now_us: Wall time, for the revision.
            queued_s: Monotonic time.
            releases: Give up its ownership in the same transaction.

        Raises:
            InvalidRecord: The record breaks its rules.
            RecordTooLarge: It exceeds the cap.
            Unstorable: The record holds a value that cannot be stored.
        """
        member = self.advance(session, blob := self.encode(session), now_us)
        members, entry = (member,), None
        if self._journal.is_on:
            entry = self._journal.snapshot(session, blob, member.step.leaves, now_us, queued_s, releases=releases)
        if releases:
            transaction = whole(members, beside=[Delete(session.keys.owner), *self.leave(session.keys)], entry=entry)
        else:
            transaction = Advance((member.step,), entry) if member.is_plain else whole(members, entry=entry)
        write = StagedWrite(transaction, queued_s, members=members, releases=releases)
        session.last_write = write
        return write
