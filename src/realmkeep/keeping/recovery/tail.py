"""The tail: the acknowledged writes that a crash of the store may still take, in their order.

Every write of a server passes three watermarks. It is *queued* when memory runs ahead, *acknowledged* when the store has
answered, and *safe* once no crash of the store can take it. The write queue holds what lies between the first two. The tail
holds what lies between the last two, as far as memory alone could not restore it: writes of several records, letters,
records made or deleted, and releases. A write of one live record needs no entry, for the record itself is in memory.

The idea is that of SpacetimeDB's accepted and durable offsets.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep.keeping.live.op_ring import OpRing, RingState
from realmkeep.keeping.recovery.stored_ownership import StoredOwnership
from realmkeep.keeping.recovery.verdict import Verdict, Wrote
from realmkeep.storage import Append, DropFirst, Guard, Put, Transaction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from realmkeep.keeping.recovery.inbox_heads import InboxHeads
    from realmkeep.keeping.writing.staging import Member, StagedWrite
    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Effect

log = logging.getLogger(__name__)

TAIL_BYTES_MAX: Final = 64 * 1024 * 1024  # a heartbeat and the loss window of 1,200 writes a second, 4 KiB each
ENTRY_BYTES: Final = 1024  # beside the values: the keys, the guards, and the entry itself
FORGET_AT_ONCE: Final = 4  # more than one write adds, and never so many that the event loop would feel it


class Part(msgspec.Struct, frozen=True, gc=False):
    """The part of one record in a write.

    Attributes:
        keys: The record's keys.
        follows: The revision on which the write was built.
        claim: The owner key under which it was made.
        leaves: The revision that it leaves.
        releases: It gives up the claim.
        version: The schema version of the record.
        ring: The operations of the record, as far as the write itself does not carry them.
    """

    keys: RecordKeys
    follows: int
    claim: bytes
    leaves: int
    releases: bool
    version: int
    ring: RingState

    @property
    def wrote(self) -> Wrote:
        """The write of this record, as a verdict needs it."""
        return Wrote(self.claim, self.leaves, self.leaves if self.releases else None)

    @property
    def owned_keys(self) -> tuple[str, ...]:
        """The keys without which the record cannot be written."""
        return (self.keys.record, self.keys.version, self.keys.ops)


def part_of(member: Member, *, releases: bool) -> Part:
    """The part of a session."""
    session = member.session
    claim, version = session.owner_guard.expected or b"", session.record.__realmkeep__.version
    return Part(session.keys, member.follows, claim, member.leaves, releases, version, member.ring)


class Entry(msgspec.Struct, gc=False):  # thousands a second are kept for a while: no work for the garbage collector
    """A write as the tail keeps it.

    Attributes:
        order: Its place among all writes of this server.
        at_s: When the store acknowledged it, on the monotonic clock.
        parts: The records that it advances.
        beside: Its guards on other records.
        effects: All that it changes.
        releases: It gives up the claim of its one record.
        receivers: The receivers of its letters.
        deleted: The records that it deletes.
        ring: Of a release: the operations of the record, and every letter that it opened.
        size_bytes: Its share of the tail, about.
        left_out: Records, as their keys begin, that another server has, or that cannot be written.
        broken: Keys that hold a value of another type.
    """

    order: int
    at_s: float
    parts: tuple[Part, ...]
    beside: tuple[Guard, ...]
    effects: tuple[Effect, ...]
    releases: bool
    receivers: tuple[RecordKeys, ...]
    deleted: tuple[RecordKeys, ...]
    ring: OpRing | None
    size_bytes: int
    left_out: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()

    @classmethod
    def of(cls, write: StagedWrite, at_s: float) -> Entry:
        """The entry of a write that was acknowledged at this moment, on the monotonic clock."""
        releases = write.releases
        parts = tuple([part_of(member, releases=releases) for member in write.members])
        guards, effects = write.transaction.guards, tuple(write.transaction.effects)
        beside = tuple(guards[2 * len(parts) :])
        ring = next((member.session.ring for member in write.members), None) if releases else None
        size = ENTRY_BYTES + (ring.size_bytes if ring is not None else 0)
        for effect in effects:
            if isinstance(effect, (Put, Append)):
                size += len(effect.value)
        receivers, deleted = tuple(write.receivers), tuple(write.deleted)
        return cls(write.order, at_s, parts, beside, effects, releases, receivers, deleted, ring, size)

    def fates(self, stored: Mapping[str, StoredOwnership]) -> list[tuple[Part, Verdict]]:
        """Each part that is not left out, and its fate."""
        kept = [part for part in self.parts if part.keys.record not in self.left_out]
        return [(part, stored[part.keys.record].verdict(part.wrote)) for part in kept]

    def replayed(self, stored: dict[str, StoredOwnership], heads: InboxHeads) -> Transaction:
        """The transaction that does it again, over what the store holds.

        Args:
            stored: Owner and revision of its records; afterwards as this transaction leaves them.
            heads: The letters in front of the inboxes; likewise.
        """
        guards: list[Guard] = []
        restored: list[Effect] = []
        for part in self.parts:
            keys = part.keys
            if keys.record in self.left_out:
                continue
            owner, revision = stored[keys.record]
            guards += [Guard(keys.owner, owner), Guard(keys.updated, b"%d" % revision if revision else None)]
            restored += self._restored(part, stored[keys.record])
            stored[keys.record] = StoredOwnership(None if self.releases else part.claim, part.leaves)
        beside = [each for each in self.beside if each.key not in self.broken and not self._is_left_out(each.key)]
        effects = [each for effect in self.effects if (each := self._replayed(effect, heads)) is not None]
        return Transaction(guards + beside, effects + [each for each in restored if each.key not in self.broken])

    def _restored(self, part: Part, stored: StoredOwnership) -> Iterator[Effect]:
        """What lost writes of this record alone may have carried, and its claim."""
        keys, claim, written = part.keys, part.claim, {effect.key for effect in self.effects}
        if keys.version not in written:
            yield Put(keys.version, b"%d" % part.version)
        is_next = stored == (claim, part.follows)
        if not is_next and keys.ops not in written and (ring := _ring(part.ring)):
            yield Put(keys.ops, ring.encode())
        if stored.owner != claim and not self.releases and keys.owner not in written:
            yield Put(keys.owner, claim)

    def _replayed(self, effect: Effect, heads: InboxHeads) -> Effect | None:
        if effect.key in self.broken:
            return None
        is_letter = isinstance(effect, Append) and effect.key.endswith(":inbox")
        if not is_letter and self._is_left_out(effect.key):  # a letter to a record stands by itself
            return None
        if isinstance(effect, DropFirst):
            return heads.dropped(effect, self._moved(), self._opener(effect.key))
        if isinstance(effect, Append):
            heads.appended(effect)
        return effect

    def _moved(self) -> set[bytes]:
        return {each.value for each in self.effects if isinstance(each, Append)}

    def _opener(self, list_key: str) -> str | None:
        """The record of this write whose letters lie in a list."""
        parts = (part.keys for part in self.parts)
        return next((keys.record for keys in parts if list_key in {keys.inbox, keys.kept}), None)

    def _is_left_out(self, key: str) -> bool:
        return any(f"{key}:".startswith(f"{record}:") for record in self.left_out)


def _ring(state: RingState) -> OpRing:
    ring = OpRing()
    ring.revert(state)
    return ring


class Tail:
    """The entries of one server, in the order of their acknowledgements.

    Args:
        bytes_max: Of all entries together; beyond it the oldest are given up.

    Attributes:
        acknowledged: The place of the newest entry among all writes.
        safe: Every entry up to this place is safe.
        given_up: How many entries were given up before they were safe.
    """

    def __init__(self, bytes_max: int = TAIL_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._entries: deque[Entry] = deque()
        self._released: dict[str, Entry] = {}
        self.size_bytes = 0
        self.acknowledged = self.safe = 0
        self.given_up = 0

    def __iter__(self) -> Iterator[Entry]:
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def released(self) -> Sequence[Entry]:
        """The releases of records that have no session here since."""
        return tuple(self._released.values())

    def append(self, entry: Entry) -> None:
        """Keep a write that was acknowledged just now."""
        self._entries.append(entry)
        self.size_bytes += entry.size_bytes
        self.acknowledged = entry.order
        if entry.releases:
            self._released[entry.parts[0].keys.record] = entry
        while self.size_bytes > self._bytes_max and self._entries:
            self._pop()
            if not self.given_up:
                log.warning("more is written than is kept against a loss of the store: see tail.TAIL_BYTES_MAX")
            self.given_up += 1

    def forget_safe(self, safe_s: float, at_once: int = FORGET_AT_ONCE) -> None:
        """Let some go that were acknowledged before this moment, on the monotonic clock: no crash takes them any more."""
        for _ in range(at_once):
            if not self._entries or self._entries[0].at_s >= safe_s:
                return
            self.safe = max(self.safe, self._pop().order)

    def claimed(self, record_key: str) -> OpRing | None:
        """A released record has a session again: the ring that it left, with the letters that it had opened."""
        entry = self._released.pop(record_key, None)
        return None if entry is None else entry.ring

    def released_ring(self, record_key: str) -> OpRing | None:
        """The ring that a released record left."""
        entry = self._released.get(record_key)
        return None if entry is None else entry.ring

    def _pop(self) -> Entry:
        entry = self._entries.popleft()
        self.size_bytes -= entry.size_bytes
        if entry.releases:
            record = entry.parts[0].keys.record
            if self._released.get(record) is entry:
                del self._released[record]
        return entry
