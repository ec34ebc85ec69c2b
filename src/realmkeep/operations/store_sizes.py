"""The keys of a store and their bytes, by kind, and its largest values; a page at a time, nothing is written."""

from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep import keys
from realmkeep.errors import InvalidKey, WrongType
from realmkeep.operations.backup.census import LISTS
from realmkeep.storage import load_each
from realmkeep.storage.reading import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep.storage import Storage

PAGE_KEYS: Final = 200  # values in memory at once: about 13 MiB of the largest records
LARGEST_SHOWN: Final = 20
FOREIGN: Final = "not of Realmkeep"


class KindSize(msgspec.Struct, frozen=True):
    """The keys of one kind and role.

    Attributes:
        kind: The kind of the record; `server` for keys of servers.
        role: The role of the key, as `keys.parse` names it.
        keys: Their number.
        bytes_count: The bytes of their values, without the overhead of the store.
    """

    kind: str
    role: str
    keys: int
    bytes_count: int


class StoreSizes(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of a store's values.

    Attributes:
        keys: The number of all keys.
        bytes_count: The bytes of their values.
        kinds: By kind and role, the largest first.
        largest: The keys of the largest values, with their bytes.
    """

    keys: int
    bytes_count: int
    kinds: tuple[KindSize, ...]
    largest: tuple[tuple[str, int], ...]


async def measure_sizes(storage: Storage) -> StoreSizes:
    """Measure every value of a store. Servers may run: the figures are of about this moment.

    Args:
        storage: Connected.

    Raises:
        StorageError: The store cannot be reached.
    """
    counts, sizes = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    largest: list[tuple[int, str]] = []
    page: list[str] = []

    async def take() -> None:
        for key, size in zip(page, await _sizes(storage, page), strict=True):
            counts[_kind(key)] += 1
            sizes[_kind(key)] += size
            if len(largest) < LARGEST_SHOWN:
                heapq.heappush(largest, (size, key))
            else:
                heapq.heappushpop(largest, (size, key))
        page.clear()

    async for key in storage.keys("*"):
        page.append(key)
        if len(page) == PAGE_KEYS:
            await take()
    await take()
    kinds = [KindSize(*of, counts[of], sizes[of]) for of in counts]
    return StoreSizes(
        keys=counts.total(),
        bytes_count=sizes.total(),
        kinds=tuple(sorted(kinds, key=lambda each: (-each.bytes_count, each.kind, each.role))),
        largest=tuple((key, size) for size, key in sorted(largest, reverse=True)),
    )


async def _sizes(storage: Storage, page: Sequence[str]) -> list[int]:
    lists = [key for key in page if _kind(key)[1] in LISTS]
    values = [key for key in page if _kind(key)[1] not in LISTS]
    found = {
        key: len(value) if value is not None and value != UNREADABLE else 0
        for key, value in zip(values, await load_each(storage, values), strict=True)
    }
    for key in lists:
        found[key] = await _size_of_list(storage, key)
    return [found[key] for key in page]


async def _size_of_list(storage: Storage, key: str) -> int:
    """The bytes of the entries of a list, a page at a time: an audit trail only grows."""
    size = start = 0
    try:
        while page := await storage.load_list(key, start=start, count=PAGE_KEYS):
            size += sum(map(len, page))
            start += len(page)
    except WrongType:
        return 0
    return size


def _kind(key: str) -> tuple[str, str]:
    try:
        parsed = keys.parse(key)
    except InvalidKey:
        return FOREIGN, ""
    return parsed.kind, parsed.role
