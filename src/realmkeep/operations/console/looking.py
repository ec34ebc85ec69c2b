"""What the pages of a search look for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep import keys
from realmkeep.errors import InvalidKey
from realmkeep.operations.console.searches import LITERAL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from realmkeep.storage import Storage


async def ids_beginning(storage: Storage, kind: str, role: str, prefix: str) -> AsyncIterator[str]:
    """The ids of a kind that begin with a prefix and are longer than it.

    Args:
        storage: The store. It looks for the keys, a few hundred at a time.
        kind: The kind of the keys.
        role: The role of the keys, as `keys.parse` names it: `record` or `account`.
        prefix: The beginning of the ids.

    Raises:
        StorageError: The store cannot be reached.
    """
    async for key in storage.keys(f"{kind}:{prefix.translate(LITERAL)}?*"):
        try:
            parsed = keys.parse(key)
        except InvalidKey:
            continue
        if parsed.role == role and parsed.id != prefix and parsed.id.startswith(prefix):
            yield parsed.id


async def is_stored(storage: Storage, key: str) -> bool:
    """Whether there is a record at a key; a key that cannot be is at none.

    Raises:
        StorageError: The store cannot be reached.
    """
    try:
        keys.parse(key)
    except InvalidKey:
        return False
    return await storage.exists(key)
