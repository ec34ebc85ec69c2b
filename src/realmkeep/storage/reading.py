"""Reads of many keys in which a key of the wrong type does not fail the others."""

import logging
from collections.abc import Sequence
from typing import Final

from realmkeep.errors import WrongType
from realmkeep.storage.protocol import Storage

log = logging.getLogger(__name__)

UNREADABLE: Final = b"\x00of another type"  # not an owner, a number, a record or a lease


async def load_each(storage: Storage, keys: Sequence[str]) -> list[bytes | None]:
    """As `Storage.load_many`, but a key that holds a list or another type gives `UNREADABLE`, and the log names it.

    Readers treat `UNREADABLE` like any malformed bytes. If there is such a key, the keys are not read at one moment.

    Raises:
        StorageUnavailable: The store cannot be reached.
    """
    try:
        return await storage.load_many(keys)
    except WrongType as error:
        if len(keys) == 1:
            log.error("%s", error)
            return [UNREADABLE]
    half = len(keys) // 2
    return [*await load_each(storage, keys[:half]), *await load_each(storage, keys[half:])]
