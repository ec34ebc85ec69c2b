"""A letter as it lies in an inbox: its id, its sender and its times, and its content."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from realmkeep.keeping.live.undecodable import UNDECODABLE

PLAIN: Final = ""  # the kind of a letter of plain JSON values


class Envelope(msgspec.Struct, array_like=True, frozen=True):
    """A stored letter: its content, and the facts that its sender wrote beside it.

    Attributes:
        id: No other letter has it.
        content: Plain JSON values; the fields of a letter that has a kind.
        kind: Of its type; empty if it is of plain values.
        version: Of its type; 0 if it is of plain values.
        sender: The key of the record that sent it; empty if none did, or an older release wrote it.
        sent_us: When, in microseconds since the epoch, on the sender's clock; 0 if an older release wrote it.
        expires_us: From when on it is returned instead of opened, likewise; 0 for never.
    """

    id: str
    content: Any
    kind: str = PLAIN
    version: int = 0
    sender: str = ""
    sent_us: int = 0
    expires_us: int = 0

    def expired(self, now_us: int) -> bool:
        """Whether it is too late to open it."""
        return bool(self.expires_us) and now_us >= self.expires_us


_decoder = msgspec.json.Decoder(Envelope)


def open_envelope(stored: bytes) -> Envelope:
    """Take it apart.

    Raises:
        UNDECODABLE: It is no letter; one of these.
    """
    return _decoder.decode(stored)


def letter_id(stored: bytes) -> str:
    """The id of a stored letter; empty, as no letter's is, if it cannot be read."""
    try:
        return _decoder.decode(stored).id
    except UNDECODABLE:
        return ""


def sent_by(stored: bytes) -> str:
    """The key of the record that sent a stored letter; empty if none did, or it cannot be read."""
    try:
        return _decoder.decode(stored).sender
    except msgspec.DecodeError:
        return ""
