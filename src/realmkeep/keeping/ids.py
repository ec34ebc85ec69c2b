"""Whole numbers that nobody else in the realm gets, also after a crash of the store that took the counter back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep.keys import SERVER_ID_COUNTER

if TYPE_CHECKING:
    from realmkeep.keeping.barrier import Barrier
    from realmkeep.storage import Storage


class Ids:
    """Counts in the store, and remembers how far this server has got."""

    def __init__(self, storage: Storage, barrier: Barrier) -> None:
        self._storage = storage
        self._barrier = barrier
        self._highest = 0

    async def allocate(self, count: int) -> int:
        """The first of `count` numbers.

        Raises:
            StorageError: The store cannot be reached.
        """
        while True:
            last = await self._storage.increment(SERVER_ID_COUNTER, count)
            if await self._barrier.wait():
                continue  # the counter may have been behind
            if last - count >= self._highest:
                self._highest = last
                return last - count + 1
            await self.catch_up(b"%d" % last)

    async def catch_up(self, stored: bytes | None) -> None:
        """Move the counter on if the store, which holds this, has forgotten numbers that were given out here.

        Raises:
            StorageError: The store cannot be reached.
        """
        counted = int(stored) if stored is not None and stored.isdigit() else 0
        if counted < self._highest:
            await self._storage.increment(SERVER_ID_COUNTER, self._highest - counted)
