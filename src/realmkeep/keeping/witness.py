"""The newest acknowledged write: what a store loses is the last that it was told, so it tells whether anything was lost."""

from __future__ import annotations

from typing import Final

DIGITS_MAX: Final = 18  # microseconds until the year 33658


class Witness:
    """Where the newest acknowledged write lies, and the number that it left there.

    A number is a revision (`:updated`) or the fencing token at the end of an owner key; both only rise.

    Attributes:
        key: Of the write; empty if there is none to look for.
    """

    def __init__(self) -> None:
        self.key = ""
        self._number = 0

    def saw(self, key: str, number: int) -> None:
        """A write was acknowledged that left this number at this key."""
        self.key = key
        self._number = number

    def is_kept(self, stored: bytes | None) -> bool:
        """Whether the store, with this at the key, still has that write or a later one of the same record."""
        number = (stored or b"").rpartition(b"/")[2]
        return number.isdigit() and (len(number) > DIGITS_MAX or int(number) >= self._number)

    def forget(self) -> None:
        """It was looked for."""
        self.key = ""
