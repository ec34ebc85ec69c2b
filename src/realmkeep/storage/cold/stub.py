"""The stub: the value that a frozen record leaves at its key in the hot store."""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Self

from realmkeep.storage.cold.protocol import DIGEST_BYTES

PREFIX: Final = b"cold/1 "
_STUB: Final = re.compile(rb"cold/1 ([1-9][0-9]{0,18}) ([0-9a-f]{%d})" % (2 * DIGEST_BYTES))


class Stub(NamedTuple):
    """The revision and the digest of the row that holds a frozen record.

    A server without a cold tier reads neither JSON nor an s-expression, so it refuses the login and makes no beginner.
    """

    revision: int
    digest: bytes

    def encode(self) -> bytes:
        """The stub as it is stored, at most 51 bytes."""
        return b"%b%d %b" % (PREFIX, self.revision, self.digest.hex().encode())

    @classmethod
    def read(cls, stored: bytes | None) -> Self | None:
        """Take a stored value apart; None if it is no stub."""
        if stored is None or not stored.startswith(PREFIX):
            return None
        found = _STUB.fullmatch(stored)
        return None if found is None else cls(int(found[1]), bytes.fromhex(found[2].decode()))
