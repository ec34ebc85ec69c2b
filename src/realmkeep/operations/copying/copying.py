"""Copies every key of one store into another, so that a realm can change its store. It can be interrupted and repeated."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep import keys
from realmkeep.errors import CopyRefused, InvalidKey, WrongType
from realmkeep.keys import SERVER_RESTORING, SERVER_STORE_ID
from realmkeep.storage import Append, Committed, Delete, Guard, Put, Refused, Transaction
from realmkeep.storage.protocol import TRANSACTION_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from realmkeep.storage import Effect, Storage

PAGE_KEYS: Final = 200  # values in memory at once: 13 MiB of the largest records
ENTRIES_AT_ONCE: Final = 500  # of a list in one transaction; half of what a store takes
ENTRIES_BYTES: Final = TRANSACTION_BYTES_MAX // 2
EXPIRED_S: Final = 0.01  # a key that is so close to its end is not copied
DIGEST_BITS: Final = 256
OTHER_TYPE: Final = b"a list"  # compared by identity
# Signs of life of servers that do not run, the run of a store that the copy is not, and halves of former writes.
LEFT_BEHIND: Final = frozenset({"lease", "store-runs", "synced", "temp", "restoring"})


class CopyReport(msgspec.Struct, frozen=True):
    """A complete copy.

    Attributes:
        keys: The keys that the copy has.
        copied: Those that this run wrote.
        already_there: Those that an earlier run had written.
        expiring: Those that expire; they are not in the digest.
        digest: Over every key and value that does not expire, equal in both stores.
    """

    keys: int
    copied: int
    already_there: int
    expiring: int
    digest: str


class _Held(msgspec.Struct, frozen=True):
    """One key: its value, or the entries of its list, and the seconds until it expires."""

    value: bytes | None
    entries: tuple[bytes, ...]
    expires_s: float | None

    def is_equal(self, other: _Held) -> bool:
        same_end = (self.expires_s is None) == (other.expires_s is None)
        return (self.value, self.entries) == (other.value, other.entries) and same_end


async def copy_store(source: Storage, target: Storage) -> CopyReport:
    """Copy a store into an empty one. A run that follows an interrupted one goes on where that stopped.

    While the copy is incomplete, no server starts on the target. Nothing of the source is changed. Leases, staged values and the
    confirmations of the source's runs are left behind.

    Args:
        source: Connected, and without live servers.
        target: Connected, and empty, or with an incomplete copy of this source.

    Raises:
        CopyRefused: A server is alive on one of them; the target has something else; the source changed meanwhile. The target
            stays marked as incomplete if the copy had begun.
        StorageError: A store cannot be reached, or refused a write.
    """
    found = await _listed(source, "the source")
    mark = b"copy of " + (await source.load(SERVER_STORE_ID) or b"a store without an id")
    there = await _begun(source, target, mark)
    wanted = sorted(key for key in found if _role(key) not in LEFT_BEHIND)
    copied = 0
    for first in range(0, len(wanted), PAGE_KEYS):
        page = wanted[first : first + PAGE_KEYS]
        held = await _read(source, page)
        copied += await _write(target, held, await _read(target, [key for key in page if key in there]))
    for key in there - set(wanted):
        if _role(key) not in LEFT_BEHIND:
            await target.delete(key)  # the source had it when an earlier run copied it
    await target.flush()
    ours, theirs = await _digest(source), await _digest(target)
    await _listed(source, "the source")
    if ours != theirs:
        raise CopyRefused(
            "the source was changed while it was copied: the two stores differ",
            hint="stop every server and tool on it, and copy again: what is equal is not copied twice",
        )
    await target.delete(SERVER_RESTORING)
    await target.flush()
    number, expiring, digest = ours
    return CopyReport(number, copied, len(wanted) - copied, expiring, digest)


async def _listed(storage: Storage, which: str) -> set[str]:
    """Every key of a store without live servers.

    Raises:
        CopyRefused: A server is alive on it, or it is half restored.
    """
    found = {key async for key in storage.keys("*")}
    if servers := sorted(keys.parse(key).id for key in found if _role(key) == "lease"):
        raise CopyRefused(
            f"these servers are alive on {which}: {', '.join(servers)}",
            hint="stop them; the lease of a server that crashed is gone after keeper.lease_ttl_s (30 s)",
        )
    if which == "the source" and SERVER_RESTORING in found:
        raise CopyRefused(
            "the source is a half restored or half copied store, or it is the target itself",
            hint="complete that first, or name another store",
        )
    return found


async def _begun(source: Storage, target: Storage, mark: bytes) -> set[str]:
    """Mark the target as incomplete, and return the keys that it has from an earlier run."""
    there = await _listed(target, "the target")
    if SERVER_RESTORING not in there and any(_role(key) not in LEFT_BEHIND for key in there):
        raise CopyRefused(
            f"the target is not empty ({len(there):,} keys), and a copy replaces no store", hint="name an empty store"
        )
    (outcome,) = await target.write([Transaction([Guard(SERVER_RESTORING, None)], [Put(SERVER_RESTORING, mark)])])
    if isinstance(outcome, Refused) and outcome.found != mark:
        raise CopyRefused(
            "the target is half filled by something else: a restore, or a copy of another store",
            hint="empty it, and copy again",
        )
    if not isinstance(outcome, (Committed, Refused)):
        raise outcome.error
    if await source.exists(SERVER_RESTORING):
        await target.delete(SERVER_RESTORING)
        raise CopyRefused("source and target are the same store", hint="name another store")
    return there - {SERVER_RESTORING}


def _role(key: str) -> str:
    try:
        return keys.parse(key).role
    except InvalidKey:  # another program's
        return ""


async def _read(storage: Storage, page: Sequence[str]) -> dict[str, _Held]:
    """The keys of a page that are there, and do not expire in the next moment."""
    if not page:
        return {}
    values = await _values(storage, page)
    ends = await storage.expiries(page)
    held: dict[str, _Held] = {}
    for key, value, end in zip(page, values, ends, strict=True):
        if end is not None and end < EXPIRED_S:
            continue
        if value is OTHER_TYPE:
            held[key] = _Held(None, tuple(await storage.load_list(key)), end)
        elif value is not None:
            held[key] = _Held(value, (), end)
    return held


async def _values(storage: Storage, page: Sequence[str]) -> list[bytes | None]:
    """As `Storage.load_many`; `OTHER_TYPE` for each key that holds a list."""
    try:
        return await storage.load_many(page)
    except WrongType:
        if len(page) == 1:
            return [OTHER_TYPE]
    half = len(page) // 2
    return [*await _values(storage, page[:half]), *await _values(storage, page[half:])]


async def _write(target: Storage, wanted: Mapping[str, _Held], there: Mapping[str, _Held]) -> int:
    """Write the keys of a page that the target does not have as they are; return their number."""
    differing = [key for key, held in wanted.items() if key not in there or not held.is_equal(there[key])]
    transactions = [each for key in differing for each in _made(key, wanted[key])]
    for outcome in await target.write(transactions):
        if not isinstance(outcome, Committed):
            assert not isinstance(outcome, Refused), "it has no guards"
            raise outcome.error
    return len(differing)


def _made(key: str, held: _Held) -> list[Transaction]:
    """The transactions that make a key anew; an interrupted list is made anew from its beginning."""
    if held.value is not None:
        return [Transaction((), (Delete(key), Put(key, held.value, held.expires_s)))]
    made: list[Transaction] = []
    effects: list[Effect] = [Delete(key)]
    size = 0
    for entry in held.entries:
        if len(effects) >= ENTRIES_AT_ONCE or size + len(entry) > ENTRIES_BYTES:
            made.append(Transaction((), tuple(effects)))
            effects, size = [], 0
        effects.append(Append(key, entry))
        size += len(entry) + len(key)
    return [*made, Transaction((), tuple(effects))]


async def _digest(storage: Storage) -> tuple[int, int, str]:
    """Count the keys, and those that expire, and digest the others, whatever their order; all are read anew."""
    found = sorted([key async for key in storage.keys("*") if _role(key) not in LEFT_BEHIND])
    total = number = expiring = 0
    for first in range(0, len(found), PAGE_KEYS):
        for key, held in (await _read(storage, found[first : first + PAGE_KEYS])).items():
            number += 1
            if held.expires_s is not None:
                expiring += 1
                continue
            digest = hashlib.sha256()
            for part in (
                key.encode(),
                b"value" if held.value is not None else b"list",
                held.value or b"",
                *held.entries,
            ):
                digest.update(b"%d:" % len(part))
                digest.update(part)
            total = (total + int.from_bytes(digest.digest(), "big")) % (1 << DIGEST_BITS)
    return number, expiring, f"{total:064x}"
