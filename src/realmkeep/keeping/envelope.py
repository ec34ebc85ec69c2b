"""A letter as it lies in an inbox: what tells it from every other letter, and what it says."""

from __future__ import annotations

from typing import Any

import msgspec


class Envelope(msgspec.Struct, array_like=True, frozen=True):
    """A letter and what is written on it.

    Attributes:
        id: No other letter has it.
        content: Plain JSON values.
    """

    id: str
    content: Any


_decoder = msgspec.json.Decoder(Envelope)


def open_envelope(stored: bytes) -> Envelope:
    """Take it apart.

    Raises:
        msgspec.DecodeError: It is no letter.
    """
    return _decoder.decode(stored)


def letter_id(stored: bytes) -> str:
    """The id of a stored letter; empty, as no letter's is, if it cannot be read."""
    try:
        return _decoder.decode(stored).id
    except msgspec.DecodeError:
        return ""
