"""The keys that all servers of a realm share beside records: their configuration, and the id of the store."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from realmkeep.errors import Corrupt, Misuse, StorageMisconfigured
from realmkeep.keys import SERVER_CONFIG, SERVER_RESTORING, SERVER_STORE_ID
from realmkeep.storage import Guard, Put, Transaction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realmkeep.storage import Storage


class ServerConfig:
    """A dictionary in the store that all servers of a realm read at their start.

    Args:
        storage: The store.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def load(self) -> dict[str, Any]:
        """The configuration; empty if none was saved.

        Raises:
            Corrupt: The stored value is no JSON object.
            StorageError: The store cannot be reached.
        """
        stored = await self._storage.load(SERVER_CONFIG)
        if stored is None:
            return {}
        try:
            return msgspec.json.decode(stored, type=dict[str, Any])
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Corrupt(f"{SERVER_CONFIG} is not a JSON object: {error}", hint="save it anew") from error

    async def save(self, values: Mapping[str, Any]) -> None:
        """Replace the configuration.

        Raises:
            Misuse: It is not made of JSON's types, or its keys are not texts.
            StorageError: The store cannot be reached.
        """
        try:
            encoded = msgspec.json.encode(dict(values))
            if set(map(type, values)) - {str}:
                raise TypeError("a key is no text")
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            raise Misuse(f"the server configuration cannot be stored: {error}", hint="use JSON's types") from error
        await self._storage.save(SERVER_CONFIG, encoded)


async def check_complete(storage: Storage) -> None:
    """Refuse a store that a restore has marked and not completed: records are missing there.

    Raises:
        StorageMisconfigured: The mark is there.
        StorageError: The store cannot be reached.
    """
    if await storage.exists(SERVER_RESTORING):
        raise StorageMisconfigured(
            "a backup is being restored into this store, or a restore was not completed",
            hint="wait for `realmkeep backup restore`; if it ended with an error, empty the store and restore again",
        )


async def read_store_id(storage: Storage) -> bytes:
    """The random id of this store, made at its first use; a different store at the same address has another one."""
    await storage.write(
        [Transaction([Guard(SERVER_STORE_ID, None)], [Put(SERVER_STORE_ID, uuid.uuid4().hex.encode())])]
    )
    return await storage.load(SERVER_STORE_ID) or b""
