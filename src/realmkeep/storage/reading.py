"""Reads of many keys in which one that holds something else is nobody else's error."""

import logging
from collections.abc import Sequence
from typing import Final

from realmkeep.errors import WrongType
from realmkeep.storage.protocol import Storage

log = logging.getLogger(__name__)

UNREADABLE: Final = b"\x00of another type"  # no owner, no number, no record, no lease


async def load_each(storage: Storage, keys: Sequence[str]) -> list[bytes | None]:
    """As `Storage.load_many`, but a key that holds a list or another type gives `UNREADABLE`, and the log names it.

    What reads it takes that for the malformed bytes that it is prepared for anyway. Where there is such a key, the keys are
    not read at one moment.

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
