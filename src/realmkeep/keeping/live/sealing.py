"""Letters on their way: sealed when they are sent, and when they go back."""

from __future__ import annotations

import math
import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep import keys
from realmkeep.errors import InvalidKey, Misuse, RecordError
from realmkeep.keeping.live.envelope import PLAIN, Envelope
from realmkeep.keeping.live.letter_types import RETURNED, Letter, Returned, check_letter_type, open_letter

if TYPE_CHECKING:
    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Storage

LETTER_BYTES_MAX: Final = 64 * 1024  # as a record
EXPIRE_S_MAX: Final = 10 * 366 * 24 * 3600.0  # beyond ten years a sender means never


def seal(letter: object, *, sender: str, now_us: int, expires_s: float | None = None) -> bytes:
    """A letter as it lies in an inbox.

    Args:
        letter: A `Letter`, or plain JSON values.
        sender: The key of the record that sends it; empty for none.
        now_us: Wall time.
        expires_s: Seconds until it is returned instead of opened; None for never.

    Raises:
        Misuse: It is not made of JSON's types, or not of its own; it is a `Returned`, or takes more than 64 KiB; or the
            expiry is out of range.
        DefinitionError: Its type has a gap in its migrations.
    """
    if expires_s is not None and not (_is_number(expires_s) and 0 < expires_s <= EXPIRE_S_MAX):
        raise Misuse(f"a letter that expires in {expires_s!r:.80} s", hint="pass seconds, up to ten years, or None")
    expires_us = 0 if expires_s is None else now_us + int(expires_s * 1_000_000)
    kind, version = PLAIN, 0
    if isinstance(letter, Letter):
        check_letter_type(type(letter), "keeper.tx.deliver")
        if isinstance(letter, Returned):
            raise Misuse(
                "a Returned was to be delivered", hint="raise Return in the hook of on_letter; send no such letter"
            )
        kind, version = letter.__letter__.kind, letter.__letter__.version
    try:
        encoded = msgspec.json.encode(Envelope(secrets.token_hex(8), letter, kind, version, sender, now_us, expires_us))
        if isinstance(letter, Letter):
            open_letter(msgspec.json.decode(encoded, type=Envelope), type(letter))
    except (TypeError, ValueError, OverflowError, RecordError) as error:
        raise Misuse(
            f"a letter cannot be stored: {error}",
            hint="use None, numbers, text, lists and dictionaries, or a Letter whose fields are of their types",
        ) from error
    if len(encoded) > LETTER_BYTES_MAX:
        raise Misuse(f"a letter of {len(encoded)} bytes", hint=f"at most {LETTER_BYTES_MAX} are delivered")
    return encoded


def seal_returned(stored: bytes, *, receiver: str, reason: str, now_us: int) -> bytes:
    """A letter as it lies in the inbox of its sender, to which it goes back."""
    back = Returned(reason=reason, receiver=receiver, envelope=stored.decode(errors="replace"))
    info = Returned.__letter__
    return msgspec.json.encode(Envelope(secrets.token_hex(8), back, info.kind, info.version, receiver, now_us))


async def sender_of(storage: Storage, letter: Envelope) -> RecordKeys | str:
    """The keys of the record to which a letter goes back, or why it cannot.

    Raises:
        StorageError: The store cannot be reached.
    """
    if letter.kind == RETURNED:
        return "it came back already"
    if not letter.sender:
        return "no record sent it"
    try:
        parsed = keys.parse(letter.sender)
        sender = keys.record_keys(parsed.kind, parsed.id, suffix=parsed.suffix, internal=True)
    except InvalidKey:
        return f"{letter.sender!r:.80} is no record"
    return sender if await storage.exists(sender.record) else f"{letter.sender} does not exist"


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
