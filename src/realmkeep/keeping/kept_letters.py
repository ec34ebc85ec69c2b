"""What operators see of letters that nobody could apply: which they are, and to have them tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from realmkeep import keys
from realmkeep.errors import InvalidKey
from realmkeep.keeping.envelope import open_envelope
from realmkeep.keeping.lease import Owner
from realmkeep.storage import Append, Failed, Transaction, Unknown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Storage

LISTS: Final = ("kept", "inbox")


class KeptLetter(NamedTuple):
    """A letter that waits for more than its receiver's next login.

    Attributes:
        record: The key of its receiver.
        why: `kept`: the game could not apply it. `no record`: its receiver was deleted, or was never made.
        id: The letter's own.
        content: What was sent; the bytes as text where they are no letter.
    """

    record: str
    why: str
    id: str
    content: Any


async def list_kept_letters(storage: Storage) -> list[KeptLetter]:
    """Every letter that could not be applied, and those to records that do not exist. Looks at every key of the store.

    Raises:
        StorageError: The store cannot be reached.
    """
    found: list[KeptLetter] = []
    async for which, record_keys in _lists(storage):
        absent = not await storage.exists(record_keys.record)
        if which == "inbox" and not absent:
            continue
        at = record_keys.kept if which == "kept" else record_keys.inbox
        why = "no record" if absent else "kept"
        found += [_of(record_keys.record, why, stored) for stored in await storage.load_list(at)]
    return sorted(found, key=lambda letter: (letter.record, letter.id))


async def retry_kept_letters(storage: Storage) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Have every letter that was kept tried again, by the servers that own their receivers, within about a second.

    Returns:
        The receivers that are live now; and those that are not: their next login tries.

    Raises:
        StorageError: The store cannot be reached; some may not have been told.
    """
    live: list[str] = []
    away: list[str] = []
    async for which, record_keys in _lists(storage):
        if which != "kept":
            continue
        owner = Owner.read(await storage.load(record_keys.owner), record_keys.owner)
        if owner is None:
            away.append(record_keys.record)
            continue
        notice = Append(keys.server_notices(owner.server), record_keys.kept.encode())
        (outcome,) = await storage.write([Transaction([], [notice])])
        if isinstance(outcome, (Failed, Unknown)):
            raise outcome.error
        live.append(record_keys.record)
    return tuple(sorted(live)), tuple(sorted(away))


async def _lists(storage: Storage) -> AsyncIterator[tuple[str, RecordKeys]]:
    for which in LISTS:
        async for key in storage.keys(f"*:{which}"):
            try:
                parsed = keys.parse(key)
            except InvalidKey:
                continue  # somebody else's
            yield which, keys.record_keys(parsed.kind, parsed.id, internal=True)


def _of(record: str, why: str, stored: bytes) -> KeptLetter:
    try:
        letter = open_envelope(stored)
    except msgspec.DecodeError:
        return KeptLetter(record, why, "", stored.decode(errors="replace"))
    return KeptLetter(record, why, letter.id, letter.content)
