"""The tail: the acknowledged writes that a crash of the store may still take, in their order.

Every write of a server passes three watermarks. It is *queued* when memory runs ahead, *acknowledged* when the store has
answered, and *safe* once no crash of the store can take it. The write queue holds the writes between the first two. The tail
holds writes between the last two, but only those that memory alone could not restore: writes of several records, letters,
records made or deleted, and releases. A write of one live record needs no entry, because the record itself is in memory.

Source: the accepted and durable offsets of SpacetimeDB.
"""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep.keeping.live.op_ring import OpRing, RingState
from realmkeep.keeping.recovery.stored_ownership import StoredOwnership
from realmkeep.keeping.recovery.verdict import Verdict, Wrote
from realmkeep.storage import Advance, Append, DropFirst, Extend, Guard, Put, Transaction

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from realmkeep.keeping.recovery.inbox_heads import InboxHeads
    from realmkeep.keeping.writing.staging import StagedWrite
    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Effect
    from realmkeep.storage.protocol import AnyTransaction, Step

log = logging.getLogger(__name__)

TAIL_BYTES_MAX: Final = 64 * 1024 * 1024  # 1,200 writes a second, 4 KiB each, for a heartbeat and the loss window
SAFE_BYTES_MAX: Final = 1024 * 1024  # on a store that loses nothing: an operator may heal one that did all the same
ENTRY_BYTES: Final = 1024  # of keys, guards and the entry itself, beside the values
FORGET_AT_ONCE: Final = 4  # more than one write adds, and too few to delay the event loop


class Part(msgspec.Struct, frozen=True, gc=False):
    """The part of one record in a write.

    Attributes:
        keys: The record's keys.
        step: The revisions before the write and after it, and the claim of the session that made it.
        releases: The write gives up the claim.
        version: The schema version of the record.
        ring: The operations of the record, without those that the write itself carries.
    """

    keys: RecordKeys
    step: Step
    releases: bool
    version: int
    ring: RingState

    @property
    def claim(self) -> bytes:
        """The owner key of the session that made the write."""
        return self.step.of.claim

    @property
    def leaves(self) -> int:
        """The revision that the write leaves."""
        return self.step.leaves

    @property
    def wrote(self) -> Wrote:
        """The write, as a verdict needs it."""
        return Wrote(self.claim, self.leaves, self.leaves if self.releases else None)

    @property
    def owned_keys(self) -> tuple[str, ...]:
        """The keys of the record that every rewrite needs: one that holds another type keeps it from being written."""
        return (self.keys.record, self.keys.version, self.keys.ops)


class Entry(msgspec.Struct, gc=False):  # the tail keeps thousands a second: no work for the garbage collector
    """A write that can be applied again.

    Attributes:
        order: Its place among all writes of this server.
        at_s: The time of its acknowledgement, on the monotonic clock.
        parts: The records that it advances, each with its claim.
        transaction: Its transaction, as it was sent.
        releases: It gives up the claim of its one record.
        receivers: The receivers of its letters.
        deleted: The records that it deletes.
        ring: Of a release: the operations of the record, and every letter that it opened.
        size_bytes: Its share of the tail, about.
        left_out: Keys of records that another server owns, or that cannot be written.
        broken: Keys that hold a value of another type.
    """

    order: int
    at_s: float
    parts: tuple[Part, ...]
    transaction: AnyTransaction
    releases: bool
    receivers: tuple[RecordKeys, ...]
    deleted: tuple[RecordKeys, ...]
    ring: OpRing | None
    size_bytes: int
    left_out: frozenset[str] = frozenset()
    broken: frozenset[str] = frozenset()

    @classmethod
    def of(cls, write: StagedWrite, at_s: float) -> Entry:
        """The entry of a write; `at_s` is the time of its acknowledgement, on the monotonic clock."""
        releases, transaction = write.releases, write.transaction
        parts: list[Part] = []
        size = ENTRY_BYTES
        for member in write.members:
            session, step = member.session, member.step
            parts.append(Part(session.keys, step, releases, session.record.__realmkeep__.version, member.ring))
            size += len(step.stored)
        ring = next((member.session.ring for member in write.members), None) if releases else None
        if ring is not None:
            size += ring.size_bytes
        if isinstance(transaction, Advance):
            size += len(transaction.entry.value) if transaction.entry is not None else 0
        elif write.has_extra or write.has_entry:
            size += sum(len(each.value) for each in transaction.effects if isinstance(each, (Put, Append)))
        return cls(
            write.order,
            at_s,
            tuple(parts),
            transaction,
            releases,
            tuple(write.receivers),
            tuple(write.deleted),
            ring,
            size,
        )

    @property
    def beside(self) -> list[Guard]:
        """The guards on records that it makes or deletes."""
        return list(self.transaction.guards[2 * len(self.parts) :])

    @property
    def effects(self) -> Sequence[Effect]:
        """All of its effects."""
        return self.transaction.effects

    def fates(self, stored: Mapping[str, StoredOwnership]) -> list[tuple[Part, Verdict]]:
        """The fate of each part that is not left out."""
        kept = [part for part in self.parts if part.keys.record not in self.left_out]
        return [(part, stored[part.keys.record].verdict(part.wrote)) for part in kept]

    def replayed(self, stored: dict[str, StoredOwnership], heads: InboxHeads) -> Transaction:
        """The transaction that applies it again, over the present state of the store.

        Args:
            stored: Owner and revision of its records; changed to those that this transaction leaves.
            heads: The heads of the inboxes; changed likewise.
        """
        guards: list[Guard] = []
        restored: list[Effect] = []
        for part in self.parts:
            keys = part.keys
            if keys.record in self.left_out:
                continue
            held = stored[keys.record]
            guards += [Guard(keys.owner, held.owner), Guard(keys.updated, held.updated)]
            restored += self._restored(part, stored[keys.record])
            stored[keys.record] = StoredOwnership(None if self.releases else part.claim, part.leaves)
        beside = [each for each in self.beside if each.key not in self.broken and not self._is_left_out(each.key)]
        effects = self.effects
        moved = {each.value for each in effects if isinstance(each, Append)}
        replayed = [each for effect in effects if (each := self._replayed(effect, heads, moved)) is not None]
        # First of all the former ring, to which the write adds a line.
        return Transaction(guards + beside, [each for each in restored if each.key not in self.broken] + replayed)

    def _restored(self, part: Part, stored: StoredOwnership) -> Iterator[Effect]:
        """The companion keys that this write does not carry itself, because earlier lost writes of the record did."""
        keys, claim, effects = part.keys, part.claim, self.effects
        written = {effect.key for effect in effects if not isinstance(effect, Extend)}
        if keys.version not in written:  # an earlier write, of this record alone, may have migrated it
            yield Put(keys.version, b"%d" % part.version)
        is_next = stored == StoredOwnership(claim, part.step.follows)
        # Writes before this one are lost, too: their operations must be known when a client repeats one.
        if not is_next and keys.ops not in written and (ring := _ring(part.ring)):
            yield Put(keys.ops, ring.encode())
        # The claim itself is lost: without it the next write of this session would be refused.
        if stored.owner != claim and not self.releases and keys.owner not in written:
            yield Put(keys.owner, claim)

    def _replayed(self, effect: Effect, heads: InboxHeads, moved: set[bytes]) -> Effect | None:
        if effect.key in self.broken:  # the store would refuse the whole write for the sake of this key
            return None
        is_letter = isinstance(effect, Append) and effect.key.endswith(":inbox")
        # Another server may own the record by now, and a letter may be sent to it all the same.
        if not is_letter and self._is_left_out(effect.key):
            return None
        if isinstance(effect, DropFirst):  # the list may have changed since, so the number may be wrong
            return heads.dropped(effect, moved, self._opener(effect.key))
        if isinstance(effect, Append):
            heads.appended(effect)
        return effect

    def _opener(self, list_key: str) -> str | None:
        """The record of this write to which a list of letters belongs."""
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
        bytes_max: The limit of all entries together; beyond it the oldest are given up.

    Attributes:
        acknowledged: The place of the newest entry among all writes.
        safe: The place up to which every entry is safe.
        given_up: The number of entries that were given up before they were safe.
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
        """The releases of records that have had no session here since."""
        return tuple(self._released.values())

    def append(self, entry: Entry, *, is_safe: bool = False) -> None:
        """Keep a write that the store has just acknowledged.

        Args:
            entry: The write.
            is_safe: The store promises to lose no acknowledged write, so only the last `SAFE_BYTES_MAX` are kept.
        """
        self._entries.append(entry)
        self.size_bytes += entry.size_bytes
        self.acknowledged = entry.order
        if entry.releases:
            self._released[entry.parts[0].keys.record] = entry
        # The oldest entries are the next to become safe, so their loss is the least likely.
        while self.size_bytes > (SAFE_BYTES_MAX if is_safe else self._bytes_max) and self._entries:
            oldest = self._pop()
            if is_safe:
                self.safe = oldest.order
                continue
            if not self.given_up:
                log.warning("more is written than is kept against a loss of the store: see tail.TAIL_BYTES_MAX")
            self.given_up += 1

    def forget_safe(self, safe_s: float, at_once: int = FORGET_AT_ONCE) -> None:
        """Drop up to `at_once` entries that were acknowledged before `safe_s`, on the monotonic clock: no crash takes them."""
        for _ in range(at_once):
            if not self._entries or self._entries[0].at_s >= safe_s:
                return
            self.safe = max(self.safe, self._pop().order)

    def claimed(self, record_key: str) -> OpRing | None:
        """Forget the release of a record that has a session again, or that this server must not restore.

        Returns:
            The ring that the release left, with the letters that the record had opened; None if there is none.
        """
        entry = self._released.pop(record_key, None)
        return None if entry is None else entry.ring

    def released_ring(self, record_key: str) -> OpRing | None:
        """The ring that the release of a record left; None if there is none."""
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
