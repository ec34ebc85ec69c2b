"""No two new accounts look alike: each skeleton of a name belongs to one account, by a key beside it in the store.

The key is written in the transaction that makes the account, with a guard, so that of two look-alikes that register at once one
hears that the name is taken. Accounts of before get theirs when the first server with this rule starts; of a pair that existed
then, both go on.
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
        storage: Where they lie.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def claim(self, name: str) -> tuple[Also, ...] | None:
        """What takes a name's skeleton in the transaction that makes its account; None if another account has it.

        Args:
            name: Folded.

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
        except (InvalidKey, UnicodeDecodeError):  # no account can have left that
            return Guard(key, holder), Put(key, name.encode())
        if await self._storage.exists(other):
            return None
        return Guard(key, holder), Guard(other, None), Put(key, name.encode())

    async def release(self, name: str) -> tuple[Also, ...]:
        """What gives a name's skeleton free in the transaction that deletes its account; nothing if it is another's.

        Raises:
            StorageError: The store cannot be reached.
        """
        key = _key(name)
        holder = await self._storage.load(key)
        return (Guard(key, holder), Delete(key)) if holder == name.encode() else ()

    async def know_all(self) -> None:
        """Give every account of before its skeleton, unless a server has done so. Costs a look at every key, once a realm.

        Raises:
            StorageError: The store cannot be reached; what is missing is done at the next start.
        """
        if await self._storage.load(keys.SERVER_SKELETONS) == TABLE_VERSION.encode():
            return
        count = 0
        async for batch in self._batches():
            await self._storage.write(batch)  # one that is refused has its skeleton, or is one of a pair
            count += len(batch)
        await self._storage.save(keys.SERVER_SKELETONS, TABLE_VERSION.encode())
        if count:
            log.info("%d accounts were looked at: no new name will look like theirs", count)

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
