"""An operator's view of kept letters: list them, have them tried again, or return them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from realmkeep import keys
from realmkeep.errors import InvalidKey, WrongType
from realmkeep.keeping.letters.inboxes import BY_OPERATOR, NO_RECORD
from realmkeep.keeping.letters.notices import GIVE_BACK, send_notices
from realmkeep.keeping.letters.returning import give_back, is_absent
from realmkeep.keeping.live.envelope import Envelope, open_envelope
from realmkeep.keeping.live.undecodable import UNDECODABLE
from realmkeep.keeping.ownership.lease import Owner
from realmkeep.storage import Append, Failed, Transaction, Unknown, load_each

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Storage

log = logging.getLogger(__name__)

LISTS: Final = ("kept", "inbox")


class KeptLetter(NamedTuple):
    """A letter that the next login of its receiver alone will not apply.

    Attributes:
        record: The key of its receiver.
        why: `kept`: the game could not apply it. `no record`: its receiver was deleted, or was never made. `no list`: the key
            of the letters holds another type of value, and `content` has the error.
        id: The id of the letter.
        kind: The kind of its type; empty if it is of plain values.
        version: The version of its type.
        sender: The key of the record that sent it; empty if none did.
        sent_us: When it was sent, in microseconds since the epoch; 0 if an older release sent it.
        expires_us: From then on it is returned, in microseconds since the epoch; 0 for never.
        content: Its content as it was sent; if the bytes are no letter, the bytes as text.
    """

    record: str
    why: str
    id: str
    kind: str
    version: int
    sender: str
    sent_us: int
    expires_us: int
    content: Any


class ReturnReport(NamedTuple):
    """The outcome of returning the letters of one record.

    Attributes:
        record: The key of their receiver.
        returned: The number of letters that went back.
        left: The number that stays, because they have no sender, or it does not exist, or they came back before.
        by_owner: The receiver is live, so its server returns them within a second.
    """

    record: str
    returned: int
    left: int
    by_owner: bool


async def list_kept_letters(storage: Storage) -> list[KeptLetter]:
    """Every kept letter, and every letter to a record that does not exist. Scans every key of the store.

    Raises:
        StorageError: The store cannot be reached.
    """
    found: list[KeptLetter] = []
    async for which, record_keys, absent in _waiting(storage):
        at = record_keys.kept if which == "kept" else record_keys.inbox
        why = NO_RECORD if absent else "kept"
        try:
            found += [_of(record_keys.record, why, stored) for stored in await storage.load_list(at)]
        except WrongType as error:
            found.append(_of(record_keys.record, "no list", str(error).encode()))
    return sorted(found, key=lambda letter: (letter.record, letter.id))


async def retry_kept_letters(storage: Storage) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Have every kept letter tried again by the server that owns its receiver, within about a second.

    Returns:
        The receivers that are live now; and the receivers that are not: their next login tries.

    Raises:
        StorageError: The store cannot be reached; some servers may not have been notified.
    """
    live: list[str] = []
    away: list[str] = []
    async for which, record_keys, _ in _waiting(storage):
        if which == "kept":
            notified = await _notify_owner(storage, record_keys, record_keys.kept)
            (live if notified else away).append(record_keys.record)
    return tuple(sorted(live)), tuple(sorted(away))


async def return_kept_letters(storage: Storage, *, now_us: int, record: str | None = None) -> list[ReturnReport]:
    """Return the letters that `list_kept_letters` shows to their senders.

    Args:
        storage: The store.
        now_us: Wall time.
        record: Only letters to the record with this key; all without it.

    Raises:
        StorageError: The store cannot be reached; letters that did not go back are where they were.
    """
    found: list[ReturnReport] = []
    async for which, record_keys, absent in _waiting(storage):
        if record not in (None, record_keys.record):
            continue
        source = record_keys.kept if which == "kept" else record_keys.inbox
        reason = NO_RECORD if absent else BY_OPERATOR
        try:
            given = await give_back(storage, record_keys, source, reason, now_us)
        except WrongType as error:
            log.error("%s", error)
            continue
        by_owner = given.owned and await _notify_owner(storage, record_keys, record_keys.record + GIVE_BACK)
        await send_notices(storage, given.senders)
        found.append(ReturnReport(record_keys.record, given.returned, given.left, by_owner))
    return sorted(found)


async def _notify_owner(storage: Storage, record_keys: RecordKeys, notice: str) -> bool:
    """Send a notice to the server that owns a record; False if none does.

    Raises:
        StorageError: The store cannot be reached.
    """
    (stored,) = await load_each(storage, [record_keys.owner])
    owner = Owner.read(stored, record_keys.owner)
    if owner is None:
        return False
    append = Append(keys.server_notices(owner.server), notice.encode())
    (outcome,) = await storage.write([Transaction([], [append])])
    if isinstance(outcome, (Failed, Unknown)):
        raise outcome.error
    return True


async def _waiting(storage: Storage) -> AsyncIterator[tuple[str, RecordKeys, bool]]:
    """Every list of kept letters, and every inbox of an absent record: its role, its record, and whether that is absent."""
    for which in LISTS:
        async for key in storage.keys(f"*:{which}"):
            try:
                parsed = keys.parse(key)
            except InvalidKey:
                continue  # a key of another program
            if parsed.role != which:
                continue
            record_keys = keys.record_keys(parsed.kind, parsed.id, internal=True)
            absent = await is_absent(storage, record_keys)
            if which == "kept" or absent:
                yield which, record_keys, absent


def _of(record: str, why: str, stored: bytes) -> KeptLetter:
    try:
        letter = open_envelope(stored)
    except UNDECODABLE:
        letter = Envelope("", stored.decode(errors="replace"))
    return KeptLetter(
        record,
        why,
        letter.id,
        letter.kind,
        letter.version,
        letter.sender,
        letter.sent_us,
        letter.expires_us,
        letter.content,
    )
