"""What reading JSON raises that somebody else may have written, or a disk may have changed."""

from __future__ import annotations

from typing import Final

import msgspec

# msgspec lets the two of Python's through: bytes in a text that are no UTF-8, and nesting without an end.
UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
