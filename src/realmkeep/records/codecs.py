"""The two forms of a stored record, told apart by the first byte: JSON, and the specification's s-expressions.

The one place that knows both. Which of them a store gets is its configuration's; every store may hold both.
"""

import re
from typing import Any, Final, Literal, TypeAlias, get_args

import msgspec

from realmkeep.errors import Corrupt, RecordTooLarge
from realmkeep.records import json_codec, json_reader
from realmkeep.records.limits import DEFAULT_LIMITS, Limits
from realmkeep.records.migrations import Plain
from realmkeep.records.record import Record, unknown_fields
from realmkeep.records.sexpr import codec as sexpr_codec

Codec: TypeAlias = Literal["json", "sexpr"]
CODECS: Final[tuple[Codec, ...]] = get_args(Codec)

_BLANKS: Final = b" \t\r\n"
_FIRST: Final = re.compile(rb"[ \t\r\n\f]*+(?:(\{)|[(;#])")


def encode(record: Record, codec: Codec = "json", *, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Encode the durable fields of a record, with version and checksum; `loading.load` reads what is returned.

    Args:
        record: The record.
        codec: `"json"` or `"sexpr"`.
        limits: What it must keep; an s-expression is held to them in JSON as well, so that its store can change codec.

    Raises:
        Unstorable: A value cannot be stored; the path is named.
        RecordTooLarge: It takes more bytes or nodes than `limits` allows.
    """
    stored = json_codec.encode(record, limits)
    if codec == "json":
        return stored
    # JSON's encoder has checked every value. Sets and dictionaries in one order: equal records are equal bytes.
    fields: dict[str, Any] = msgspec.to_builtins(record, order="deterministic") | unknown_fields(record)
    del fields["version"]
    stored = sexpr_codec.encode(fields, record.__realmkeep__)
    if len(stored) > limits.bytes_max:
        raise RecordTooLarge(
            f"{record.__realmkeep__.kind} takes {len(stored)} bytes, more than the {limits.bytes_max} allowed",
            hint="nothing was stored; shrink it, move some of it to a record of its own, or raise the limit",
        )
    return stored


def written_checksum(stored: bytes) -> bytes:
    """The eight digits of the checksum with which `encode` ends what it returns, in either form: equal bytes, equal digits."""
    return stored[-10:-2]


def codec_of(stored: bytes) -> Codec:
    """Tell the form of stored bytes by the first one that is not blank: `{` for JSON, `(`, `;` or `#` for s-expressions.

    Raises:
        Corrupt: It is none of these.
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
    """Decode a record of any version to a plain dictionary, with its `version` if it has one, without the checksum.

    Args:
        stored: The bytes.
        cls: The record class; s-expressions are read by the types of its fields.
        limits: What the bytes must keep.
        accept_unchecked: Accept JSON without a checksum, from an imported store. S-expressions may always lack it: Lisp
            programs do not write one.

    Raises:
        RecordTooLarge: More bytes, nodes or nesting than `limits` allows; nothing was built.
        Corrupt: Malformed, truncated, no record, or the checksum is wrong or missing.
    """
    info = cls.__realmkeep__
    if len(stored) > limits.bytes_max:
        raise RecordTooLarge(f"A stored {info.kind} has {len(stored)} bytes, more than the {limits.bytes_max} allowed")
    if codec_of(stored) == "sexpr":
        sexpr_codec.check_crc(stored)
        plain = sexpr_codec.decode_plain(stored, info, limits)
    else:
        stored = stored.rstrip(_BLANKS)  # a line's end that an editor added, as s-expressions may have
        checked = json_codec.check_crc(stored)
        plain = json_reader.decode_plain(stored, info, limits)
        if not checked and not accept_unchecked:
            raise Corrupt(
                f"A stored {info.kind} has no checksum",
                hint="the bytes are kept; if this store was imported, load it with accept_unchecked",
            )
    plain.pop("crc", None)
    return plain
