"""Arrays in Postgres's binary format, packed by hand: a chunk has thousands of keys and values.

The format is that of `array_send` in Postgres's `arrayfuncs.c`: the number of dimensions, whether there are NULLs, the element's
type, the length, the lower bound; then each element with its length, -1 for NULL.
"""

from collections.abc import Sequence
from struct import Struct
from typing import Final

from psycopg import adapt, pq
from typing_extensions import override

_HEAD: Final = Struct("!iiiii")
_EMPTY_HEAD: Final = Struct("!iii")
_LENGTH: Final = Struct("!i")
_NULL: Final = _LENGTH.pack(-1)
_NUMBER: Final = Struct("!iq")
_NUMBER_BYTES: Final = 8

_TEXT_OID: Final = 25
_BYTEA_OID: Final = 17
_BIGINT_OID: Final = 20


class PackedArray:
    """An array as the server reads it."""

    __slots__ = ("wire",)

    def __init__(self, wire: bytes) -> None:
        self.wire = wire


class TextArray(PackedArray):
    """A `text[]`."""


class ByteaArray(PackedArray):
    """A `bytea[]`."""


class BigintArray(PackedArray):
    """A `bigint[]`."""


def texts(items: Sequence[str]) -> TextArray:
    """Pack text."""
    return TextArray(_packed(_TEXT_OID, [item.encode() for item in items]))


def byteas(items: Sequence[bytes | None]) -> ByteaArray:
    """Pack bytes; None is NULL."""
    return ByteaArray(_packed(_BYTEA_OID, items))


def bigints(items: Sequence[int | None]) -> BigintArray:
    """Pack numbers of 64 bits; None is NULL."""
    pack = _NUMBER.pack
    parts = [_NULL if item is None else pack(_NUMBER_BYTES, item) for item in items]
    return BigintArray(_head(_BIGINT_OID, len(items)) + b"".join(parts))


def _head(oid: int, length: int) -> bytes:
    return _HEAD.pack(1, 1, oid, length, 1) if length else _EMPTY_HEAD.pack(0, 0, oid)


def _packed(oid: int, items: Sequence[bytes | None]) -> bytes:
    pack = _LENGTH.pack
    parts = [_head(oid, len(items))]
    for item in items:
        if item is None:
            parts.append(_NULL)
        else:
            parts.append(pack(len(item)))
            parts.append(item)
    return b"".join(parts)


class _PackedDumper(adapt.Dumper):
    format = pq.Format.BINARY

    @override
    def dump(self, obj: PackedArray) -> bytes:
        return obj.wire


class _TextArrayDumper(_PackedDumper):
    oid = 1009


class _ByteaArrayDumper(_PackedDumper):
    oid = 1001


class _BigintArrayDumper(_PackedDumper):
    oid = 1016


def register(adapters: adapt.AdaptersMap) -> None:
    """Let a connection send packed arrays."""
    adapters.register_dumper(TextArray, _TextArrayDumper)
    adapters.register_dumper(ByteaArray, _ByteaArrayDumper)
    adapters.register_dumper(BigintArray, _BigintArrayDumper)
