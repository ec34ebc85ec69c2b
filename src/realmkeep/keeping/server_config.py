"""What all servers of a realm share in the store beside records: their configuration, and its own id."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import msgspec

from realmkeep.errors import Corrupt, Misuse
from realmkeep.keys import SERVER_CONFIG, SERVER_STORE_ID
from realmkeep.storage import Guard, Put, Transaction

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realmkeep.storage import Storage


class ServerConfig:
    """A dictionary that all servers of a realm read at their start; it lies in the store.

    Args:
        storage: The store.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def load(self) -> dict[str, Any]:
        """The configuration; empty if none was saved.

        Raises:
            Corrupt: The store holds no JSON object there.
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


async def read_store_id(storage: Storage) -> bytes:
    """What tells this store from another one at the same address; made at its first use."""
    await storage.write(
        [Transaction([Guard(SERVER_STORE_ID, None)], [Put(SERVER_STORE_ID, uuid.uuid4().hex.encode())])]
    )
    return await storage.load(SERVER_STORE_ID) or b""
