"""The errors of reading JSON from another program, or from a disk that changed it."""

from __future__ import annotations

from typing import Final

import msgspec

# msgspec lets the two of Python's through: bytes in a text that are no UTF-8, and nesting without an end.
UNDECODABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
