"""Look-alike names: the skeleton of a name belongs to one account, by a key of its own in the store.

A guarded write of this key is part of the registration. If two look-alikes register at once, one is refused because the name
is taken. Older accounts get their keys when the first server with this rule starts; two older look-alikes both stay valid.
"""

import hashlib
import logging
from collections.abc import AsyncIterator
from typing import Final

from realmkeep import keys
from realmkeep.accounts.skeletons import TABLE_VERSION, skeleton
from realmkeep.errors import InvalidKey
from realmkeep.keeping.unowned_records import Also
from realmkeep.storage import Delete, Guard, Put, Storage, Transaction

_BATCH: Final = 500
log = logging.getLogger("realmkeep.accounts")


class Lookalikes:
    """The skeletons of one realm.

    Args:
        storage: The store.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def claim_name(self, name: str) -> tuple[Also, ...] | None:
        """Guards and effects that claim a name's skeleton in the transaction of its registration; None if it is taken.

        Args:
            name: The folded user name.

        Raises:
            StorageError: The store cannot be reached.
        """
        key = _key(name)
        holder = await self._storage.load(key)
        if holder is None:
            return Guard(key, None), Put(key, name.encode())
        if holder == name.encode():
            return (Guard(key, holder),)
        try:
            other = keys.account(holder.decode())
        except (InvalidKey, UnicodeDecodeError):  # no account can have written this
            return Guard(key, holder), Put(key, name.encode())
        if await self._storage.exists(other):
            return None
        return Guard(key, holder), Guard(other, None), Put(key, name.encode())

    async def release_name(self, name: str) -> tuple[Also, ...]:
        """Guards and effects that release a name's skeleton in the transaction of its deletion; none if another has it.

        Raises:
            StorageError: The store cannot be reached.
        """
        key = _key(name)
        holder = await self._storage.load(key)
        return (Guard(key, holder), Delete(key)) if holder == name.encode() else ()

    async def index_all(self) -> None:
        """Write the skeletons of older accounts, unless a server has done so. It scans every key once for each realm.

        Raises:
            StorageError: The store cannot be reached; the next start writes the missing ones.
        """
        if await self._storage.load(keys.SERVER_SKELETONS) == TABLE_VERSION.encode():
            return
        count = 0
        async for batch in self._batches():
            await self._storage.write(batch)  # a refused one has its skeleton already, or has an older look-alike
            count += len(batch)
        await self._storage.save(keys.SERVER_SKELETONS, TABLE_VERSION.encode())
        if count:
            log.info("%d accounts now have skeletons: no new name can look like theirs", count)

    async def _batches(self) -> AsyncIterator[list[Transaction]]:
        batch: list[Transaction] = []
        async for account in self._storage.keys("account:*"):
            name = account.removeprefix("account:")
            key = _key(name)
            batch.append(Transaction([Guard(key, None)], [Put(key, name.encode())]))
            if len(batch) >= _BATCH:
                yield batch
                batch = []
        if batch:
            yield batch


def _key(name: str) -> str:
    return keys.account_skeleton(hashlib.sha256(skeleton(name).encode("utf-8", "surrogatepass")).hexdigest()[:32])
