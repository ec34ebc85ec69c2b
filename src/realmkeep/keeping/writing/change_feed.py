"""The change feed: the newest acknowledged bytes of changed records, for the cold tier.

It hands out *cuts*: the state that the first so many acknowledged writes of this server left, and no part of a later one. So
the parts of a trade are always in the same cut. A write belongs to a cut only once no crash of the hot store can take it, and
once the outcome of every earlier write is known, because answers may overtake each other.

It also tells on which states of other servers those writes were built: the records that were claimed, and the senders of letters
that were opened. A cut may become durable only once the cold tier has all of these.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep.errors import Corrupt
from realmkeep.keeping.live.envelope import open_envelope
from realmkeep.keeping.live.op_ring import OpRing, is_normal
from realmkeep.keeping.live.undecodable import UNDECODABLE
from realmkeep.keeping.ownership.revisions import stored_number
from realmkeep.storage import Advance, Append, Put, load_each
from realmkeep.storage.cold import ColdLetter, ColdRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from realmkeep.clock import Clock
    from realmkeep.keeping.live.op_ring import RingState
    from realmkeep.keeping.ownership.claims import Claimed
    from realmkeep.keeping.ownership.loss_probe import LossProbe
    from realmkeep.keeping.writing.staging import StagedWrite, WriteMember
    from realmkeep.keeping.writing.write_queue import WriteQueue
    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Storage

FEED_BYTES_MAX: Final = 256 * 1024 * 1024  # a quarter of a million records that changed while the cold tier was away
CHANGE_BYTES: Final = 256  # of keys and objects, beside the bytes of the record


class Change(msgspec.Struct, frozen=True, gc=False):
    """The state in which a write left a record.

    Attributes:
        key: The key of the record.
        ops_key: The key of its op ring.
        revision: Its revision.
        version: Its schema version.
        body: Its bytes; None if the write deleted it.
        ring: Its op ring without the operation of this write; None if `line` is the whole ring.
        line: What the write added to the stored ring.
        is_known: The bytes are here; otherwise the hot store has them, because too much waited.
    """

    key: str
    ops_key: str
    revision: int
    version: int
    body: bytes | None
    ring: RingState | None = None
    line: bytes = b""
    is_known: bool = True

    @property
    def size_bytes(self) -> int:
        """The memory that it takes, about."""
        return CHANGE_BYTES + len(self.body or b"") + len(self.line) + (len(self.ring[0]) if self.ring else 0)

    def row(self) -> ColdRow:
        """The row of the cold tier."""
        ring = OpRing()
        if self.ring is not None:
            ring.revert(self.ring)
        return ColdRow(self.key, self.revision, self.version, self.body, normal_ops(ring.encode() + self.line))

    def without_bytes(self) -> Change:
        """The same, when too much waits."""
        return Change(self.key, self.ops_key, self.revision, self.version, None, is_known=False)


class _Landed(msgspec.Struct, frozen=True, gc=False):
    """One acknowledged write, or one claim: its place, the time of its acknowledgement, and all that it changed."""

    order: int
    at_s: float
    changes: tuple[Change, ...] = ()
    letters: tuple[tuple[str, bytes], ...] = ()
    spent: tuple[bytes, ...] = ()
    claimed: ColdRow | None = None

    @property
    def size_bytes(self) -> int:
        """The memory that it takes, about."""
        size = CHANGE_BYTES + sum([change.size_bytes for change in self.changes])
        size += sum([len(stored) for _, stored in self.letters])
        return size + (self.claimed.size_bytes if self.claimed is not None else 0)


class Cut(msgspec.Struct, eq=False):
    """All that has changed up to one moment, since the last cut that is durable in the cold tier.

    Attributes:
        order: The place of the last write in it.
        changes: The newest state of each changed record.
        letters: Letters that were sent.
        opened: The ids of letters that were opened or went back.
        needs: For each record of another server on which it was built, the least revision that the cold tier must have.
        claimed: The claimed states of those records, as far as they are in memory.
        since_s: When its oldest change was acknowledged, on the monotonic clock; None if it has none.
        size_bytes: The memory that it takes, about.
    """

    order: int = 0
    changes: dict[str, Change] = {}
    letters: list[ColdLetter] = []
    opened: list[str] = []
    needs: dict[str, int] = {}
    claimed: dict[str, ColdRow] = {}
    since_s: float | None = None
    size_bytes: int = 0

    @property
    def unknown(self) -> list[Change]:
        """The changes without bytes."""
        return [change for change in self.changes.values() if not change.is_known]

    def change(self, change: Change) -> None:
        """Take a change in; the newest state of a record stays."""
        before = self.changes.get(change.key)
        if before is not None:
            if before.revision > change.revision:
                return
            self.size_bytes -= before.size_bytes
        self.changes[change.key] = change
        self.size_bytes += change.size_bytes

    def need(self, key: str, revision: int, claimed: ColdRow | None = None) -> None:
        """Take in that the cold tier must have this revision of a record, or a later one, unless the cut has it itself."""
        here = self.changes.get(key)
        if here is not None and here.revision >= revision:
            return
        self.needs[key] = max(revision, self.needs.get(key, 0))
        if claimed is not None and key not in self.claimed:
            self.claimed[key] = claimed
            self.size_bytes += CHANGE_BYTES + claimed.size_bytes

    def satisfied(self, keys: Iterable[str]) -> None:
        """Note that the cold tier has what the cut needs of these records."""
        for key in keys:
            self.needs.pop(key, None)
            if (row := self.claimed.pop(key, None)) is not None:
                self.size_bytes -= CHANGE_BYTES + row.size_bytes

    def absorb(self, later: Cut) -> None:
        """Move on to a later moment."""
        self.order = later.order
        self.since_s = later.since_s if self.since_s is None else self.since_s
        for key, revision in later.needs.items():  # before the changes, which came after
            self.need(key, revision, later.claimed.get(key))
        for change in later.changes.values():
            self.change(change)
        self.letters += later.letters
        self.opened += later.opened
        self.size_bytes += sum([CHANGE_BYTES + len(letter.stored) for letter in later.letters])


class ChangeFeed:
    """Collects what the writes of one server changed.

    Args:
        storage: Tells whether it may lose acknowledged writes.
        clock: The clock.
        queue: Tells the writes whose outcome is not known.
        probe: Tells which writes are safe.
        bytes_max: Beyond it only keys are kept; the oldest lose their bytes first.

    Attributes:
        cut: The cut that is to be shipped next; it stays as it is until `shipped`, or until `take` is told to let it grow.
        trouble: Why the cold tier is behind, in a sentence for people; empty if it is not.
        keeps_bytes: No bytes are dropped now, because those that were dropped before are being read.
    """

    def __init__(
        self, storage: Storage, clock: Clock, queue: WriteQueue, probe: LossProbe, *, bytes_max: int = FEED_BYTES_MAX
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._queue = queue
        self._probe = probe
        self._bytes_max = bytes_max
        self._fresh: list[_Landed] = []
        self._fresh_bytes = 0
        self._suspicions = 0
        self._next = Cut()
        self.cut = Cut()
        self.trouble = ""
        self.overflows = 0
        self.keeps_bytes = False

    @property
    def records(self) -> int:
        """The entries that wait: one for each changed record of a cut, and one for each write that is not safe yet."""
        return len(self.cut.changes) + len(self._next.changes) + len(self._fresh)

    @property
    def size_bytes(self) -> int:
        """The memory that all that waits takes, about."""
        return self.cut.size_bytes + self._next.size_bytes + self._fresh_bytes

    @property
    def lag_s(self) -> float:
        """The age of the oldest change that is not in the cold tier; 0 if there is none."""
        first_s = self._fresh[0].at_s if self._fresh else None
        since_s = next((each for each in (self.cut.since_s, self._next.since_s, first_s) if each is not None), None)
        return 0.0 if since_s is None else max(0.0, self._clock.monotonic_s() - since_s)

    def landed(self, write: StagedWrite) -> None:
        """Take in an acknowledged write; it still has its members."""
        effects = () if isinstance(write.transaction, Advance) else write.transaction.effects
        rings = {each.key: each.value for each in effects if isinstance(each, Put) and each.key.endswith(":ops")}
        changes = [_change(member, rings.get(member.session.keys.ops)) for member in write.members]
        letters: list[tuple[str, bytes]] = []
        if write.has_extra:
            changes += _beside(write)
            receivers = {receiver.inbox: receiver.record for receiver in write.receivers}
            letters = [
                (receivers[each.key], each.value)
                for each in effects
                if isinstance(each, Append) and each.key in receivers
            ]
        now_s = self._clock.monotonic_s()
        self._add(_Landed(write.order, now_s, tuple(changes), tuple(letters), tuple(write.spent)))

    def claimed(self, claimed: Claimed[Any], encode: Callable[[], bytes]) -> None:
        """Take in a claim: the record was made, or the cold tier must have the state that was claimed."""
        keys, found, order, now_s = claimed.keys, claimed.found, self._queue.order, self._clock.monotonic_s()
        if found is None:
            body = encode()
            change = Change(keys.record, keys.ops, claimed.revision, claimed.stored_version, body)
            self._add(_Landed(order, now_s, (change,)))
        elif found.thawed is None:
            ops = normal_ops(found.ops or b"")
            row = ColdRow(keys.record, claimed.revision, claimed.stored_version, found.record, ops)
            self._add(_Landed(order, now_s, claimed=row))

    def note(self, change: Change) -> None:
        """Take in a record of this server whose newest state the cold tier lacks, as a sweep has found it."""
        self._add(_Landed(self._queue.order, self._clock.monotonic_s(), (change,)))

    async def note_stored(self, keys: RecordKeys) -> None:
        """Take in a record as it is stored now; nothing happens if it is absent.

        Raises:
            StorageError: The store cannot be reached.
        """
        found = await load_each(self._storage, [keys.record, keys.updated, keys.version, keys.ops])
        body, updated, version, ops = found
        if body is not None and (revision := stored_number(updated)):
            version_number = stored_number(version) or 0
            self.note(Change(keys.record, keys.ops, revision, version_number, body, None, ops or b""))

    def _add(self, landed: _Landed) -> None:
        self._fresh.append(landed)
        self._fresh_bytes += landed.size_bytes
        if self.size_bytes > self._bytes_max:
            self._bound()

    def take(self, *, grow: bool = False, flushed_s: float | None = None) -> Cut:
        """Return the cut that is to be shipped next, of the newest moment that no crash of the hot store can take.

        Args:
            grow: Also move a cut on that waits already; otherwise the later changes are in the cut after it.
            flushed_s: The hot store was flushed after this monotonic time, so all that was acknowledged before it is safe.
        """
        now_s = self._clock.monotonic_s()
        may_lose = self._storage.capability.loss_window_s != 0
        if self._probe.loss_suspected or self._suspicions != self._probe.suspicions:
            # Writes that were lost are written again: they are as young as that.
            self._suspicions = self._probe.suspicions
            self._fresh = [msgspec.structs.replace(each, at_s=now_s) for each in self._fresh]
        safe_s, settled = self._probe.safe_s if may_lose else now_s + 1, self._queue.settled_order
        safe_s = safe_s if flushed_s is None else max(safe_s, flushed_s)
        self._fresh.sort(key=attrgetter("order"))
        count = 0
        for each in self._fresh:
            if each.order > settled or each.at_s >= safe_s:
                break
            count += 1
            self._fold(each)
        self._fresh = self._fresh[count:]
        if not self._fresh:
            self._next.order = max(self._next.order, settled)
        self._fresh_bytes = sum([each.size_bytes for each in self._fresh])
        if grow or self.cut.since_s is None:
            self.cut.absorb(self._next)
            self._next = Cut(order=self.cut.order)
        self._bound()
        return self.cut

    def _fold(self, landed: _Landed) -> None:
        cut = self._next
        cut.order = max(cut.order, landed.order)
        cut.since_s = landed.at_s if cut.since_s is None else cut.since_s
        for change in landed.changes:
            cut.change(change)
        if landed.claimed is not None:
            cut.need(landed.claimed.key, landed.claimed.revision, landed.claimed)
        for receiver, stored in landed.letters:
            if (told := _told(stored)) is not None:
                cut.letters.append(ColdLetter(told[0], receiver, stored))
                cut.size_bytes += CHANGE_BYTES + len(stored)
        for stored in landed.spent:
            if (told := _told(stored)) is None:
                continue
            id_, sender, sent_us = told
            cut.opened.append(id_)
            if sender:
                cut.need(sender, sent_us)

    def _bound(self) -> None:
        """Drop bytes beyond the limit: first of claimed states, then of the changes of the cut, the oldest first."""
        if self.keeps_bytes or self.size_bytes <= self._bytes_max:
            return
        self.overflows += 1
        for cut in (self.cut, self._next):
            cut.size_bytes -= sum([CHANGE_BYTES + row.size_bytes for row in cut.claimed.values()])
            cut.claimed = {}
            for key, change in cut.changes.items():
                if self.size_bytes <= self._bytes_max:
                    return
                if change.is_known and change.body is not None:
                    cut.changes[key] = change.without_bytes()
                    cut.size_bytes -= change.size_bytes - CHANGE_BYTES

    def known(self, read: Mapping[str, Change]) -> None:
        """Give the bytes of changes back that had been dropped.

        A record that another server has changed since is that server's: its claim needs the state that is dropped here, and
        has it in memory.
        """
        cut = self.cut
        for before in cut.unknown:
            cut.size_bytes -= before.size_bytes
            del cut.changes[before.key]
            change = read.get(before.key)
            if change is not None and change.revision == before.revision:
                cut.change(change)

    def shipped(self) -> None:
        """Begin a new cut: the cold tier has this one."""
        self.cut, self._next = self._next, Cut(order=self._next.order)


def normal_ops(stored: bytes) -> bytes:
    """The op ring in the one form that the cold tier has; bytes that are no ring stay as they are."""
    if is_normal(stored):
        return stored
    try:
        return OpRing.decode(stored, "ops").encode()
    except Corrupt:
        return stored


def _change(member: WriteMember, ring: bytes | None) -> Change:
    keys, step = member.session.keys, member.step
    version = member.session.record.__realmkeep__.version
    if ring is not None:
        return Change(keys.record, keys.ops, step.leaves, version, step.stored, None, ring)
    return Change(keys.record, keys.ops, step.leaves, version, step.stored, member.ring, step.line)


def _beside(write: StagedWrite) -> Iterator[Change]:
    """The records that a write makes or deletes."""
    puts = {each.key: each.value for each in write.transaction.effects if isinstance(each, Put)}
    deleted = {keys.record: keys for keys in write.deleted}
    for keys in (*deleted.values(), *write.created):
        revision = int(puts[keys.updated])
        version = 0 if keys.record in deleted else int(puts[keys.version])
        yield Change(keys.record, keys.ops, revision, version, None if keys.record in deleted else puts[keys.record])


def _told(stored: bytes) -> tuple[str, str, int] | None:
    """Id, sender and time of a letter; None if it is none."""
    try:
        letter = open_envelope(stored)
    except UNDECODABLE:
        return None
    return letter.id, letter.sender, letter.sent_us
