"""The audit trail: a list in the store to which entries are only appended, each with the hash of the one before.

An entry is part of the transaction of its change, so no change is without its entry, and no entry without its change. A guard
on the head of the chain orders entries of several servers: of two appended at once, one is refused and is made anew.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep.errors import Corrupt
from realmkeep.keys import SERVER_AUDIT, SERVER_AUDIT_HEAD
from realmkeep.storage import Append, Guard, Put

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from realmkeep.storage import Storage

PAGE_ENTRIES: Final = 500  # read at once
START: Final = "0" * 64  # the hash before the first entry
REASON_CHARS_MAX: Final = 300


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One act of an operator.

    Attributes:
        sequence: 1 for the first.
        at_us: In microseconds since the Unix epoch, by the clock of the server that wrote it.
        operator: The operator's name; `first` for the command that makes the first operator.
        role: Its role then.
        act: The act, a key of `GRANTS`.
        target: The key of the record: `player:7`, `account:ada`.
        reason: The operator's words.
        details: The change: for an edit the field, and its values before and after.
        act_id: The id of the act; the same id happens once.
        server: The server that ran it.
        previous: The hash of the entry before.
    """

    sequence: int
    at_us: int
    operator: str
    role: str
    act: str
    target: str
    reason: str
    details: dict[str, Any]
    act_id: str
    server: str
    previous: str


class AuditHead(msgspec.Struct, frozen=True):
    """The end of the chain: the number of entries, and the hash of the last."""

    sequence: int = 0
    hash: str = START


class AuditVerdict(msgspec.Struct, frozen=True):
    """The outcome of a verification.

    Attributes:
        entries: The number of entries read.
        hash: The hash of the last one; note it elsewhere, because with it a chain that was written anew is found.
        faults: One sentence for each fault; empty if the chain is whole.
    """

    entries: int
    hash: str
    faults: tuple[str, ...]


def hash_of(stored: bytes) -> str:
    """The hash of a stored entry."""
    return hashlib.sha256(stored).hexdigest()


class FoundHead:
    """The head as it was read; it appends one entry under the guard that it has not moved."""

    def __init__(self, stored: bytes | None) -> None:
        self._stored = stored
        self.head = _decode_head(stored)

    def append(self, make: AuditEntry) -> tuple[Guard, Put, Append]:
        """The guard and the effects that append an entry; its `sequence` and `previous` are set here."""
        entry = msgspec.structs.replace(make, sequence=self.head.sequence + 1, previous=self.head.hash)
        stored = msgspec.json.encode(entry)
        moved = msgspec.json.encode(AuditHead(entry.sequence, hash_of(stored)))
        return Guard(SERVER_AUDIT_HEAD, self._stored), Put(SERVER_AUDIT_HEAD, moved), Append(SERVER_AUDIT, stored)


def _decode_head(stored: bytes | None) -> AuditHead:
    if stored is None:
        return AuditHead()
    try:
        return msgspec.json.decode(stored, type=AuditHead)
    except (msgspec.MsgspecError, ValueError) as error:
        raise Corrupt(
            f"{SERVER_AUDIT_HEAD} is no head of an audit trail", hint="restore it: `realmkeep audit verify` says more"
        ) from error


class AuditTrail:
    """The audit trail of a realm.

    Args:
        storage: The store.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def head(self) -> FoundHead:
        """The present end of the chain.

        Raises:
            Corrupt: It cannot be read.
            StorageError: The store cannot be reached.
        """
        return FoundHead(await self._storage.load(SERVER_AUDIT_HEAD))

    async def entries(self, *, last: int | None = None) -> AsyncIterator[AuditEntry]:
        """The entries in their order; entries that cannot be read are left out (`verify` names them).

        Args:
            last: Only so many of the newest; None: all.

        Raises:
            Corrupt: The head cannot be read.
            StorageError: The store cannot be reached.
        """
        start = 0 if last is None else max(0, (await self.head()).head.sequence - last)
        async for stored in self._stored(start):
            entry = _decode(stored)
            if entry is not None:
                yield entry

    async def _stored(self, start: int) -> AsyncIterator[bytes]:
        while page := await self._storage.load_list(SERVER_AUDIT, start=start, count=PAGE_ENTRIES):
            for stored in page:
                yield stored
            start += len(page)

    async def verify(self, *, expected: tuple[int, str] | None = None) -> AuditVerdict:
        """Read the chain from its first entry, and compare each hash.

        Args:
            expected: The sequence and the hash of an entry, as an earlier verification told them.

        Raises:
            StorageError: The store cannot be reached.
        """
        faults: list[str] = []
        read, previous, seen = 0, START, ""
        async for stored in self._stored(0):
            read += 1
            entry = _decode(stored)
            if entry is None:
                faults.append(f"entry {read} cannot be read")
            elif entry.sequence != read or entry.previous != previous:
                faults.append(f"entry {read} does not follow the one before: entries were changed, removed or added")
            previous = hash_of(stored)
            if expected is not None and read == expected[0]:
                seen = previous
        if expected is not None and seen != expected[1]:
            faults.append(f"entry {expected[0]} is not the one of that verification: the trail was cut or written anew")
        try:
            head = (await self.head()).head
        except Corrupt as error:
            faults.append(error.message)
        else:
            if (head.sequence, head.hash) != (read, previous):
                faults.append(
                    f"the head names entry {head.sequence}, and the last is {read}: the end was cut or changed"
                )
        return AuditVerdict(read, previous, tuple(faults))


def _decode(stored: bytes) -> AuditEntry | None:
    try:
        return msgspec.json.decode(stored, type=AuditEntry)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
