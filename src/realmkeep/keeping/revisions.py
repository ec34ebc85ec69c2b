"""Revisions and fencing tokens as they are stored: microseconds since 1970, in decimal."""

from __future__ import annotations

from typing import Final

DIGITS_MAX: Final = 18  # microseconds until the year 33658


def stored_number(stored: bytes | None) -> int | None:
    """The number that lies there; 0 if nothing does, None if it is no such number."""
    if stored is None:
        return 0
    return int(stored) if stored.isdigit() and len(stored) <= DIGITS_MAX else None


def token_of(owner: bytes | None) -> int:
    """The fencing token in an owner key; 0 if there is none."""
    return stored_number((owner or b"").rpartition(b"/")[2]) or 0
