"""Revisions and fencing tokens as they are stored: microseconds since 1970, in decimal."""

from __future__ import annotations

from typing import Final

DIGITS_MAX: Final = 18  # microseconds until the year 33658
# The year 17814. A record that stands beyond would, with a revision for each write, get one that cannot be read any more.
CLAIMABLE_MAX: Final = 5 * 10**17


def stored_number(stored: bytes | None) -> int | None:
    """The number that lies there; 0 if nothing does, None if it is no such number."""
    if stored is None:
        return 0
    return int(stored) if stored.isdigit() and len(stored) <= DIGITS_MAX else None


def claimable_number(stored: bytes | None) -> int | None:
    """As `stored_number`; None also for one that leaves no room for those that follow it."""
    number = stored_number(stored)
    return number if number is not None and number <= CLAIMABLE_MAX else None


def token_of(owner: bytes | None) -> int:
    """The fencing token in an owner key; 0 if there is none."""
    return stored_number((owner or b"").rpartition(b"/")[2]) or 0
