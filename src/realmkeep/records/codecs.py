"""The two forms of a stored record: JSON and the specification's s-expressions. Their first byte tells them apart.

Only this module knows both. The configuration says which one is written; every store may hold both.
"""

import re
from collections.abc import Callable
from typing import Any, Final, Literal, TypeAlias, get_args

import msgspec

from realmkeep.errors import Corrupt, RecordTooLarge
from realmkeep.records import json_codec, json_reader
from realmkeep.records.limits import DEFAULT_LIMITS, Limits
from realmkeep.records.plain import Plain
from realmkeep.records.record import Record, unknown_fields, written_version
from realmkeep.records.sexpr import codec as sexpr_codec

Codec: TypeAlias = Literal["json", "sexpr"]
CODECS: Final[tuple[Codec, ...]] = get_args(Codec)

_BLANKS: Final = b" \t\r\n"
_FIRST: Final = re.compile(rb"[ \t\r\n\f]*+(?:(\{)|[(;#])")


def encode(record: Record, codec: Codec = "json", *, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Encode the durable fields of a record, with version and checksum; `loading.load` reads the result.

    Args:
        record: The record.
        codec: `"json"` or `"sexpr"`.
        limits: The caps. They apply to JSON even if the codec is `"sexpr"`, so that a store can change its codec.

    Raises:
        Unstorable: A value cannot be stored; the path is named.
        RecordTooLarge: The record takes more bytes or nodes than `limits` allows.
    """
    return ENCODERS[codec](record, limits)


def _encode_sexpr(record: Record, limits: Limits) -> bytes:
    # JSON's encoder checks every value. Sets and dictionaries are sorted: equal records are equal bytes.
    checked = json_codec.encode(record, limits)
    if written_version(record) != record.__realmkeep__.version:
        return checked  # of a newer version: it is written back in the notation in which it was found
    fields: dict[str, Any] = msgspec.to_builtins(record, order="deterministic") | unknown_fields(record)
    del fields["version"]
    stored = sexpr_codec.encode(fields, record.__realmkeep__)
    if len(stored) > limits.bytes_max:
        raise RecordTooLarge(
            f"{record.__realmkeep__.kind} takes {len(stored)} bytes, more than the {limits.bytes_max} allowed",
            hint="the record was not stored; shrink it, move a part to a record of its own, or raise the limit",
        )
    return stored


ENCODERS: Final[dict[Codec, Callable[[Record, Limits], bytes]]] = {"json": json_codec.encode, "sexpr": _encode_sexpr}
"""The encoder of each codec, as `encode` calls it."""


def written_checksum(stored: bytes) -> bytes:
    """Return the eight digits of the checksum in bytes just encoded, in either form; equal bytes have equal digits."""
    return stored[-10:-2]


def codec_of(stored: bytes) -> Codec:
    """Return the codec of stored bytes by their first byte that is not blank: `{` is JSON, `(`, `;` or `#` s-expressions.

    Raises:
        Corrupt: The first byte is another.
    """
    first = _FIRST.match(stored)
    if first is None:
        raise Corrupt(
            f"The stored bytes begin with {stored[:20]!r}: neither JSON nor an s-expression",
            hint="the bytes are kept; restore a backup",
        )
    return "json" if first[1] else "sexpr"


def decode(
    stored: bytes, cls: type[Record], *, limits: Limits = DEFAULT_LIMITS, accept_unchecked: bool = False
) -> Plain:
    """Decode a record of any version to a plain dictionary, with its stored `version`, if any, and without the checksum.

    Args:
        stored: The bytes.
        cls: The record class; s-expressions are read by the types of its fields.
        limits: The caps on the bytes.
        accept_unchecked: Accept JSON without a checksum, from an imported store. S-expressions may always lack it, since
            Lisp programs write none.

    Raises:
        RecordTooLarge: More bytes, nodes or nesting than `limits` allows; no value was built.
        Corrupt: Malformed, truncated, not a record, or the checksum is wrong or missing.
    """
    info = cls.__realmkeep__
    if len(stored) > limits.bytes_max:
        raise RecordTooLarge(f"A stored {info.kind} has {len(stored)} bytes, more than the {limits.bytes_max} allowed")
    if codec_of(stored) == "sexpr":
        sexpr_codec.check_crc(stored)
        plain = sexpr_codec.decode_plain(stored, info, limits)
    else:
        stored = stored.rstrip(_BLANKS)  # a line end added by an editor; s-expressions may have one too
        checked = json_codec.check_crc(stored)
        plain = json_reader.decode_plain(stored, info, limits)
        if not checked and not accept_unchecked:
            raise Corrupt(
                f"A stored {info.kind} has no checksum",
                hint="the bytes are kept; if this store was imported, load it with accept_unchecked",
            )
    plain.pop("crc", None)
    return plain
