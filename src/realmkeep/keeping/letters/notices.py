"""Notices tell the server that owns a record of its letters, or that another server wants it.

After a missed notice of letters the next login finds them. A missed request is made again by the next login.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from realmkeep import keys
from realmkeep.keeping.ownership.lease import Owner
from realmkeep.storage import Append, Failed, Transaction, Unknown, load_each

if TYPE_CHECKING:
    from collections.abc import Iterable

    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Storage
KEPT: Final = ":kept"  # ends a notice that asks to try the kept letters again
WANTED: Final = ":wanted"  # ends a notice that asks for the release of a record
GIVE_BACK: Final = ":kept:return"  # ends a notice that asks to return the kept letters


async def send_notices(storage: Storage, receivers: Iterable[RecordKeys]) -> None:
    """Notify the servers that own these receivers of letters.

    Raises:
        StorageError: The store cannot be reached; some servers may not have been notified.
    """
    order = list(receivers)
    owners = await load_each(storage, [receiver.owner for receiver in order])
    notices = [
        Append(keys.server_notices(owner.server), receiver.record.encode())
        for receiver, stored in zip(order, owners, strict=True)
        if (owner := Owner.read(stored, receiver.owner)) is not None
    ]
    for outcome in await storage.write([Transaction([], [notice]) for notice in notices]):
        if isinstance(outcome, (Failed, Unknown)):
            raise outcome.error  # a notice that arrives twice does no harm


async def request_release(storage: Storage, server: str, record_keys: RecordKeys) -> None:
    """Ask the server that owns a record for its release.

    Raises:
        StorageError: The store cannot be reached; the server may have been asked all the same.
    """
    notice = Append(keys.server_notices(server), (record_keys.record + WANTED).encode())
    (outcome,) = await storage.write([Transaction([], [notice])])
    if isinstance(outcome, (Failed, Unknown)):
        raise outcome.error  # asking twice does no harm
