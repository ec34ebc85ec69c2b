"""Searches for keys by a prefix: each goes on where it stopped, so no page waits for the rest of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from realmkeep import keys
from realmkeep.errors import InvalidKey

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from realmkeep.storage import Storage

PAGE_ROWS: Final = 50
KEPT_MAX: Final = 16  # searches that can go on
FOUND_MAX: Final = 10_000  # of one search; beyond it, a longer prefix is wanted
GLOB: Final = str.maketrans(
    {"*": "?", "[": "?", "]": "?", "\\": "?"}
)  # characters of a pattern match themselves, and others


class FoundPage(NamedTuple):
    """One page of a search.

    Attributes:
        ids: The ids on it.
        more: There are further pages.
    """

    ids: list[str]
    more: bool


class _Search:
    def __init__(self, found: AsyncIterator[str], role: str, prefix: str) -> None:
        self._found = found
        self._role = role
        self._prefix = prefix
        self._ids: list[str] = []
        self._ended = False

    async def page(self, number: int) -> FoundPage:
        first, last = number * PAGE_ROWS, (number + 1) * PAGE_ROWS
        while len(self._ids) <= last and not self._ended:
            try:
                key = await anext(self._found)
            except StopAsyncIteration:
                self._ended = True
                break
            try:
                parsed = keys.parse(key)
            except InvalidKey:
                continue
            if parsed.role == self._role and parsed.id.startswith(self._prefix):
                self._ids.append(parsed.id)
            self._ended = len(self._ids) >= FOUND_MAX
        return FoundPage(self._ids[first:last], len(self._ids) > last)


class Searches:
    """The last searches at one console.

    Args:
        storage: The store. It looks for the keys, a few hundred at a time.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._kept: dict[tuple[str, str], _Search] = {}

    async def page(self, kind: str, role: str, prefix: str, number: int) -> FoundPage:
        """A page of the ids that begin with a prefix; the first page begins a new search.

        Args:
            kind: The kind of the keys.
            role: The role of the keys, as `keys.parse` names it: `record` or `account`.
            prefix: The beginning of the ids.
            number: 0 for the first page.

        Raises:
            StorageError: The store cannot be reached.
        """
        name = (kind, prefix)
        if number == 0 or name not in self._kept:
            self._kept.pop(name, None)
            while len(self._kept) >= KEPT_MAX:
                del self._kept[next(iter(self._kept))]
            self._kept[name] = _Search(self._storage.keys(f"{kind}:{prefix.translate(GLOB)}*"), role, prefix)
        search = self._kept[name]
        try:
            return await search.page(number)
        except BaseException:
            self._kept.pop(name, None)  # its iterator has ended
            raise
