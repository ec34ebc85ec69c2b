"""What released sessions left, for as long as the store may still lose it.

A store that fsyncs once a second may lose an acknowledged release in its crash. Whom the released session had traded with
may be live, and is written again from memory; without what is kept here the other half of the trade would be gone.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

from realmkeep.keeping.recovery.verdict import Wrote
from realmkeep.storage import Delete, Guard, Put

if TYPE_CHECKING:
    from collections.abc import Iterator

    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.writing.staging import StagedWrite
    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Effect

KEPT_BYTES_MAX: Final = 64 * 1024 * 1024  # a heartbeat and the loss window of 1,200 releases a second, 4 KiB each
KEPT_BYTES_EACH: Final = 1024  # beside the bytes of record and ring: the keys, the owner, and this table


class Departed:
    """What a released session left.

    Attributes:
        keys: The record's keys.
        owner_guard: Its claim, given up since.
        token: The fencing token of that claim.
        durable_revision: The revision of its final snapshot.
        ring: Its operations, and the letters that it had opened.
        order: The place of its release among all writes.
        at_s: When the store acknowledged it, on the monotonic clock.
    """

    __slots__ = ("_blob", "_version", "at_s", "durable_revision", "keys", "order", "owner_guard", "ring", "token")

    def __init__(self, session: Session[Any], write: StagedWrite, at_s: float) -> None:
        self.keys: RecordKeys = session.keys
        self.owner_guard = session.owner_guard
        self.token = session.token
        self.durable_revision = session.revision
        self.order = write.order
        self.at_s = at_s
        blobs = [
            effect.value
            for effect in write.transaction.effects
            if isinstance(effect, Put) and effect.key == self.keys.record
        ]
        (self._blob,) = blobs
        self._version = session.record.__realmkeep__.version
        self.ring = session.ring

    @property
    def release(self) -> Wrote:
        """Its last write."""
        return Wrote(self.owner_guard.expected or b"", self.durable_revision, self.durable_revision)

    @property
    def size_bytes(self) -> int:
        """What keeping it takes, about."""
        return len(self._blob) + self.ring.size_bytes + KEPT_BYTES_EACH

    def rewrite(self, owner: bytes | None, revision: int, guards: list[Guard], effects: list[Effect]) -> None:
        """Add to a transaction that the store holds it as it was left, over what it holds of it.

        With the very revision: a server that claimed it before the store lost it finds what its claim was built on.
        """
        keys = self.keys
        guards += [Guard(keys.owner, owner), Guard(keys.updated, b"%d" % revision if revision else None)]
        effects += [
            Put(keys.record, self._blob),
            Put(keys.updated, b"%d" % self.durable_revision),
            Put(keys.version, b"%d" % self._version),
        ]
        if self.ring:
            effects.append(Put(keys.ops, self.ring.encode()))
        if owner is not None:
            effects.append(Delete(keys.owner))


class Departures:
    """What is kept of released sessions, the oldest first.

    Args:
        bytes_max: Of all of them together; beyond it the oldest are given up.

    Attributes:
        given_up: How many had to be, before the store was known to be unable to lose them.
    """

    def __init__(self, bytes_max: int = KEPT_BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._kept: OrderedDict[str, Departed] = OrderedDict()
        self._bytes = 0
        self.given_up = 0

    def __iter__(self) -> Iterator[Departed]:
        return iter(tuple(self._kept.values()))

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size_bytes(self) -> int:
        """What keeping them takes, about."""
        return self._bytes

    def get(self, record_key: str) -> Departed | None:
        """What was left of a record; None if nothing is kept."""
        return self._kept.get(record_key)

    def keep(self, departed: Departed) -> None:
        """Keep it as the newest."""
        self.forget(departed.keys.record)
        self._kept[departed.keys.record] = departed
        self._bytes += departed.size_bytes
        while self._bytes > self._bytes_max:
            self.forget(next(iter(self._kept)))
            self.given_up += 1

    def forget(self, record_key: str) -> None:
        """It has a session again, or is deleted, or its time is over."""
        if (departed := self._kept.pop(record_key, None)) is not None:
            self._bytes -= departed.size_bytes

    def forget_before(self, safe_s: float) -> None:
        """Forget what was acknowledged before this: no crash takes it any more."""
        while self._kept and (oldest := next(iter(self._kept.values()))).at_s < safe_s:
            self.forget(oldest.keys.record)
