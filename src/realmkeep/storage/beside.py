"""A store for a command that runs beside a live server."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from realmkeep.errors import StorageLocked
from realmkeep.storage.urls import open_storage

if TYPE_CHECKING:
    from realmkeep.clock import Clock
    from realmkeep.storage.protocol import Storage


async def connect_beside(url: str, *, clock: Clock) -> Storage:
    """Open and connect the store of a URL; an embedded one that a live server has open is reached by its socket.

    Args:
        url: As for `open_storage`.
        clock: The clock.

    Raises:
        ConfigError: The URL is malformed.
        StorageLocked: A live server has the file of SQLite open, which no other process may write.
        StorageError: The store cannot be reached.
    """
    storage = open_storage(url, clock=clock)
    try:
        await storage.connect()
    except StorageLocked:
        if urlsplit(url).scheme != "embedded":
            raise
    else:
        return storage
    from realmkeep.storage.embedded import address_of  # noqa: PLC0415 - imports a driver
    from realmkeep.storage.redis import RedisStorage  # noqa: PLC0415 - as above

    beside = RedisStorage(address_of(urlsplit(url)), clock=clock)
    await beside.connect()
    return beside
