"""On which server a record is live: a hint for gateways and matchmakers, read without a keeper."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from realmkeep import keys
from realmkeep.errors import Corrupt
from realmkeep.keeping.live.record_keys import keys_of
from realmkeep.keeping.ownership.lease import Lease, Owner
from realmkeep.storage import load_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep.records import Record
    from realmkeep.storage import Storage

log = logging.getLogger(__name__)


class ServerInfo(msgspec.Struct, frozen=True):
    """A server of the realm whose lease holds.

    Attributes:
        name: Its name.
        incarnation: Which run of it this is.
        address: Where clients and gateways reach it (`keeper.address`); empty if it tells none.
        version: The release of its game (`keeper.version`); as above.
        state: `open`, or `draining`: it lets nobody in any more.
        drains_to: The server to which it sends its players; empty if any will do.
    """

    name: str
    incarnation: str
    address: str
    version: str
    state: Literal["open", "draining"]
    drains_to: str


class Whereabouts(msgspec.Struct, frozen=True):
    """The server that owns a record.

    Attributes:
        server: Its name.
        incarnation: Which run of it owns the record.
        address: Where clients and gateways reach it (`keeper.address`); empty if it tells none, or its lease has run out.
        version: The release of its game (`keeper.version`); as above.
        is_alive: Its lease holds. If not, another server may claim the record.
        state: `open`, or `draining`: it lets nobody in, and lets go of its players.
        drains_to: The server to which it sends them; empty if any will do.
    """

    server: str
    incarnation: str
    address: str
    version: str
    is_alive: bool
    state: Literal["open", "draining"] = "open"
    drains_to: str = ""


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

    async def servers(self, names: Sequence[str]) -> list[ServerInfo]:
        """Return those of the named servers whose leases hold, in the given order. One read.

        A lease that cannot be read is left out, with a line in the log.

        Raises:
            InvalidKey: A name is malformed.
            StorageError: The store cannot be reached.
        """
        leases = [keys.server_lease(name) for name in names]
        found = await load_each(self._storage, leases)
        servers = [_server_info(name, key, lease) for name, key, lease in zip(names, leases, found, strict=True)]
        return [each for each in servers if each is not None]


def _server_info(name: str, key: str, stored: bytes | None) -> ServerInfo | None:
    try:
        lease = None if stored is None else Lease.decode(stored, key)
    except Corrupt as error:
        log.error("%s", error)
        return None
    if lease is None:
        return None
    return ServerInfo(name, lease.incarnation, lease.address, lease.version, lease.state, lease.drains_to)


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
    return Whereabouts(
        owner.server,
        owner.incarnation,
        lease.address,
        lease.version,
        is_alive=True,
        state=lease.state,
        drains_to=lease.drains_to,
    )
