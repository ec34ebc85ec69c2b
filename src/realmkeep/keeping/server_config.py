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


async def load(storage: Storage) -> dict[str, Any]:
    """What `save` stored; empty if nothing.

    Raises:
        Corrupt: What is stored is not a JSON object.
        StorageError: The store cannot be reached.
    """
    stored = await storage.load(SERVER_CONFIG)
    if stored is None:
        return {}
    try:
        return msgspec.json.decode(stored, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Corrupt(f"{SERVER_CONFIG} is not a JSON object: {error}", hint="save it anew") from error


async def save(storage: Storage, values: Mapping[str, Any]) -> None:
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
    await storage.save(SERVER_CONFIG, encoded)


async def store_id(storage: Storage) -> bytes:
    """What tells this store from another one at the same address; made at its first use."""
    await storage.write(
        [Transaction([Guard(SERVER_STORE_ID, None)], [Put(SERVER_STORE_ID, uuid.uuid4().hex.encode())])]
    )
    return await storage.load(SERVER_STORE_ID) or b""
