"""Records as Lisp s-expressions: the specification's own format. A Lisp server's data are served unchanged.

    (:version 1 :player-id 12345 :zone-id :overworld :x 150.0d0 :quests ((:quest-id :tutorial :complete t)) :crc "89abcdef")

A record is one property list on one line, its fields in the given order. `snake_case` fields are `:kebab-case` keywords.
Floats have the exponent letter `d`, so that Lisp reads the same double. Texts are strings, `Keyword`s keywords. The field's
type gives `nil` its meaning (see `shapes`); `names` maps names and the case of letters.

The checksum is the last field: eight hexadecimal digits, the CRC-32 (zlib's) of all bytes before its ` :crc`. Only this
written form is compared; data written by hand or by a Lisp program have none. A program that changes a record must remove
the old `:crc` (`remf`) or append a new one: a record with a wrong `:crc` is corrupt.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from realmkeep.errors import Corrupt, Unstorable
from realmkeep.records.checksum import crc32
from realmkeep.records.fields import RecordInfo
from realmkeep.records.limits import Limits
from realmkeep.records.sexpr.reader import Datum, read
from realmkeep.records.sexpr.shapes import INT, TEXT, Fields, Misfit
from realmkeep.records.sexpr.types import shape_of

_CRC: Final = re.compile(rb' :crc "([0-9a-f]{8})"\)[ \t\r\n]*\Z')
_CRC_TAIL: Final = len(' :crc "89abcdef")') + 64  # room for a line end added by an editor


def decode_plain(stored: bytes, info: RecordInfo, limits: Limits) -> dict[str, Any]:
    """Decode a record of any version to a plain dictionary.

    The current version is read by the types of today's fields, a former one by the types that its migrations declare; other
    fields of a former version are read by their notation, see `former`.

    Keys are field names in snake_case, with `version` and `crc` if present. Values are as `json.loads` would give them, fit
    for `msgspec.convert(..., strict=True, str_keys=True)`. Unknown keys, and values that do not fit their field, are read
    without a type: property lists as dictionaries, lists as lists, `nil` as None, `t` as True, keywords and symbols as
    texts. Call `check_crc` first: this function does not compare the checksum.

    Raises:
        RecordTooLarge: More bytes, nodes or nesting than `limits` allows; no value beyond them was built.
        Corrupt: Malformed, not a property list, a key twice, a wrong `:version`, a number that no field can hold, or a
            `:crc` in another place than `encode` puts it.
    """
    whole = read(stored, limits)
    try:
        plain: dict[str, Any] | Any = _record_shape(info, _written_at(whole, info)).plain(whole)
    except Misfit as misfit:
        raise Corrupt(f"A stored {info.kind} holds {misfit} at {misfit.path(info.kind)}") from None
    if not isinstance(plain, dict) or not plain:
        raise Corrupt(f"A stored {info.kind} is not a property list", hint="the bytes are kept; restore a backup")
    plain = cast("dict[str, Any]", plain)
    version = plain.get("version", 0)
    if type(version) is not int or version < 0:
        raise Corrupt(f"A stored {info.kind} has a :version that is not a whole number from 0: {version!r:.40}")
    if "crc" in plain and not _CRC.search(stored[-_CRC_TAIL:]):
        raise Corrupt(
            f"A stored {info.kind} has a :crc that is not its last field, as `encode` writes it",
            hint="a program that rewrites a record must remove :crc or append a new one",
        )
    return plain


def encode(fields: Mapping[str, Any], info: RecordInfo) -> bytes:
    """Encode a record of the current version, with its checksum.

    Args:
        fields: The durable fields, and the unknown ones that are kept, as `msgspec.to_builtins` gives them, in the order of
            writing; without `version` and `crc`.
        info: The record's declaration.

    Raises:
        Unstorable: A value is not of its field's type, or cannot be stored (NaN, an integer beyond 64 bits, a lone
            surrogate); the path is named.
    """
    shape = _record_shape(info, info.version)
    try:
        texts = [":version", str(info.version), *shape.texts(fields)]
    except Misfit as misfit:
        raise Unstorable(f"{misfit.path(info.kind)} holds {misfit}") from None
    return with_crc(f"({' '.join(texts)}".encode())


def with_crc(text: bytes) -> bytes:
    """Append the checksum and the closing parenthesis to a record's text."""
    return b'%b :crc "%08x")' % (text, crc32(text))


def check_crc(stored: bytes) -> bool:
    """Compare the checksum: True if it is right, False if there is none. S-expressions may lack it.

    Raises:
        Corrupt: The checksum is wrong: the bytes were changed after they were written.
    """
    found = _CRC.search(stored, max(0, len(stored) - _CRC_TAIL))
    if found is None:
        return False
    crc = crc32(memoryview(stored)[: found.start()])
    if int(found[1], 16) != crc:
        raise Corrupt(
            f"The checksum is {crc:08x}, not {found[1].decode()} as stored",
            hint="the bytes are kept; restore a backup; a program that rewrites a record must remove :crc",
        )
    return True


def _written_at(whole: Datum, info: RecordInfo) -> int:
    """Return the version of which the types apply; the current one unless the data name a former one."""
    entries = whole if isinstance(whole, list) else []
    told = [value for key, value in zip(entries[::2], entries[1::2], strict=False) if _is_version(key)]
    version = told[0] if told else 0
    if version == 0 and 0 not in info.migrations:
        version = 1
    return version if type(version) is int and 0 <= version < info.version else info.version


def _is_version(key: Datum) -> bool:
    return isinstance(key, str) and key == "version"


def _record_shape(info: RecordInfo, version: int) -> Fields:
    """Return the shape of a record at a version: the types that its migrations declare, and today's for other fields."""
    shapes = {field.name: shape_of(field.type, former=version < info.version) for field in info.durable}
    for at in range(info.version - 1, version - 1, -1):
        shapes |= {name: shape_of(former) for name, former in info.former.get(at, {}).items()}
    return Fields({"version": INT, "crc": TEXT, **shapes})
