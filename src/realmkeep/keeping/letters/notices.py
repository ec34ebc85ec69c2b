"""Notices: tell the server that owns a receiver of its letters. One that is missed is made up for by the next login."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from realmkeep import keys
from realmkeep.keeping.ownership.lease import Owner
from realmkeep.storage import Append, Failed, Transaction, Unknown, load_each

if TYPE_CHECKING:
    from collections.abc import Iterable

    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Storage
KEPT: Final = ":kept"  # ends the notice that asks for the letters that were kept
GIVE_BACK: Final = ":kept:return"  # ends the notice that asks to return them


async def send_notices(storage: Storage, receivers: Iterable[RecordKeys]) -> None:
    """Tell the servers that own the receivers that there are letters.

    Raises:
        StorageError: The store cannot be reached; some may not have been told.
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
