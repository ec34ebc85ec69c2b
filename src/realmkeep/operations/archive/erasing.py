"""The erasure of a record across both tiers: an intent in the hot store, a tombstone in the cold one, then the intent goes."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

import msgspec

from realmkeep import keys
from realmkeep.errors import Corrupt
from realmkeep.operations.archive.boards import boards_of
from realmkeep.storage import Delete, Failed, Guard, Put, Transaction, Unknown

if TYPE_CHECKING:
    from realmkeep.storage import Storage
    from realmkeep.storage.cold import ColdStore

log = logging.getLogger("realmkeep.operations.archive")


class Intent(msgspec.Struct, frozen=True):
    """An erasure that the cold tier may lack.

    Attributes:
        record: The key of the record.
        revision: The revision of its tombstone.
    """

    record: str
    revision: int

    @property
    def put(self) -> Put:
        """Leaves the intent; it belongs into the transaction that deletes the record from the hot store."""
        digest = hashlib.blake2b(self.record.encode(), digest_size=16).hexdigest()
        return Put(keys.erasing(digest), msgspec.json.encode(self))


async def find_intent(storage: Storage, record: str) -> Intent | None:
    """The intent to erase a record; None if there is none, because it is finished.

    Raises:
        StorageError: The store cannot be reached.
        Corrupt: It cannot be read.
    """
    key = Intent(record, 0).put.key
    stored = await storage.load(key)
    return None if stored is None else _read(key, stored)


def _read(key: str, stored: bytes) -> Intent:
    try:
        return msgspec.json.decode(stored, type=Intent)
    except msgspec.MsgspecError as error:
        raise Corrupt(f"{key} is no intent of an erasure: {error}", hint="erase the person once more") from error


async def finish(storage: Storage, cold: ColdStore, intent: Intent) -> None:
    """Erase the record from the cold tier, and then remove the intent. A second call changes nothing more.

    Raises:
        StorageError: A store cannot be reached; the intent stays, and the next sweep finishes it.
    """
    await storage.flush()
    await cold.erase(intent.record, intent.revision, boards_of(intent.record))
    put = intent.put
    (outcome,) = await storage.write([Transaction([Guard(put.key, put.value)], [Delete(put.key)])])
    if isinstance(outcome, (Failed, Unknown)):
        raise outcome.error


async def finish_erasures(storage: Storage, cold: ColdStore) -> int:
    """Finish every erasure whose intent lies in the hot store; their number.

    Raises:
        StorageError: A store cannot be reached.
        Corrupt: An intent cannot be read.
    """
    found = [key async for key in storage.keys("server:erasing:*")]
    for key in found:
        stored = await storage.load(key)
        if stored is None:
            continue
        await finish(storage, cold, _read(key, stored))
        log.info("an erasure is finished in the archive")
    return len(found)
