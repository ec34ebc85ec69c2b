"""On which server a record is live: a hint for gateways and matchmakers, read without a keeper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from realmkeep import keys
from realmkeep.keeping.live.record_keys import keys_of
from realmkeep.keeping.ownership.lease import Lease, Owner

if TYPE_CHECKING:
    from realmkeep.records import Record
    from realmkeep.storage import Storage


class Whereabouts(msgspec.Struct, frozen=True):
    """The server that owns a record.

    Attributes:
        server: Its name.
        incarnation: Which run of it owns the record.
        address: Where clients and gateways reach it (`keeper.address`); empty if it tells none, or its lease has run out.
        version: The release of its game (`keeper.version`); as above.
        is_alive: Its lease holds. If not, another server may claim the record.
    """

    server: str
    incarnation: str
    address: str
    version: str
    is_alive: bool


class Directory:
    """Tells on which server a record is live. It owns nothing, and changes nothing.

    The answer is a hint: the record may move on in the next moment. The claim of the server that logs a player in decides.

    Args:
        storage: The store of the realm, connected.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def whereabouts(self, cls: type[Record], id: int | str) -> Whereabouts | None:  # noqa: A002 - the field's own name
        """Return the server that owns a record; None if none does. Two reads.

        Raises:
            InvalidKey: The id is malformed.
            Corrupt: The owner or the lease of the record cannot be read.
            StorageError: The store cannot be reached.
        """
        return await find_owner(self._storage, cls, id)


async def find_owner(storage: Storage, cls: type[Any], id: int | str) -> Whereabouts | None:  # noqa: A002 - the field's own name
    """As `Directory.whereabouts`.

    Raises:
        InvalidKey: The id is malformed.
        Corrupt: The owner or the lease of the record cannot be read.
        StorageError: The store cannot be reached.
    """
    key = keys_of(cls, id).owner
    stored = await storage.load(key)
    if stored is None:
        return None
    owner = Owner.decode(stored, key)
    lease_key = keys.server_lease(owner.server)
    found = await storage.load(lease_key)
    lease = None if found is None else Lease.decode(found, lease_key)
    if lease is None or lease.incarnation != owner.incarnation:  # a later run of it does not own the record yet
        return Whereabouts(owner.server, owner.incarnation, "", "", is_alive=False)
    return Whereabouts(owner.server, owner.incarnation, lease.address, lease.version, is_alive=True)
