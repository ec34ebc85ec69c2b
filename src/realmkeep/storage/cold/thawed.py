"""A store as tools read it: the bytes of a frozen record come from its row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep.storage.cold.stub import Stub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from realmkeep.storage.cold.protocol import ColdStore
    from realmkeep.storage.protocol import AnyTransaction, Capability, Storage, WriteOutcome


class ThawedStorage:
    """A `Storage` whose values of frozen records are their bytes; everything else is the store's own.

    A row that differs from its stub is not shown: the stub stays, and its reader finds it unusable. A guard compares with the value
    in the store itself, so it cannot expect a value that was read here.

    Args:
        storage: The hot store.
        cold: The cold tier.
    """

    def __init__(self, storage: Storage, cold: ColdStore) -> None:
        self._storage = storage
        self._cold = cold

    @property
    def capability(self) -> Capability:
        """As `Storage.capability`."""
        return self._storage.capability

    async def run_id(self) -> str:
        """As `Storage.run_id`."""
        return await self._storage.run_id()

    async def connect(self) -> None:
        """Connect the hot store."""
        await self._storage.connect()

    async def disconnect(self) -> None:
        """Disconnect the hot store."""
        await self._storage.disconnect()

    async def write(self, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
        """As `Storage.write`."""
        return await self._storage.write(transactions)

    async def load(self, key: str) -> bytes | None:
        """As `Storage.load`.

        Raises:
            StorageError: A store cannot be reached.
        """
        return (await self._thawed([key], [await self._storage.load(key)]))[0]

    async def load_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """As `Storage.load_many`.

        Raises:
            StorageError: A store cannot be reached.
        """
        return await self._thawed(keys, await self._storage.load_many(keys))

    async def load_list(self, key: str, *, start: int = 0, count: int | None = None) -> list[bytes]:
        """As `Storage.load_list`."""
        return await self._storage.load_list(key, start=start, count=count)

    async def expiries(self, keys: Sequence[str]) -> list[float | None]:
        """As `Storage.expiries`."""
        return await self._storage.expiries(keys)

    async def exists(self, key: str) -> bool:
        """As `Storage.exists`."""
        return await self._storage.exists(key)

    def keys(self, pattern: str = "*") -> AsyncIterator[str]:
        """As `Storage.keys`."""
        return self._storage.keys(pattern)

    async def increment(self, key: str, by: int = 1) -> int:
        """As `Storage.increment`."""
        return await self._storage.increment(key, by)

    async def flush(self) -> None:
        """As `Storage.flush`."""
        await self._storage.flush()

    async def snapshot(self) -> None:
        """As `Storage.snapshot`."""
        await self._storage.snapshot()

    async def save(self, key: str, value: bytes) -> None:
        """As `Storage.save`."""
        await self._storage.save(key, value)

    async def delete(self, key: str) -> bool:
        """As `Storage.delete`."""
        return await self._storage.delete(key)

    async def sweep_temp(self, *, older_than_s: float = 3600.0) -> int:
        """As `Storage.sweep_temp`."""
        return await self._storage.sweep_temp(older_than_s=older_than_s)

    async def _thawed(self, keys: Sequence[str], found: list[bytes | None]) -> list[bytes | None]:
        stubs = {key: stub for key, value in zip(keys, found, strict=True) if (stub := Stub.read(value)) is not None}
        if not stubs:
            return found
        bodies = {
            row.key: row.body
            for row in await self._cold.rows([*stubs])
            if row is not None and (row.revision, row.digest) == stubs[row.key]
        }
        return [bodies.get(key) or value for key, value in zip(keys, found, strict=True)]
