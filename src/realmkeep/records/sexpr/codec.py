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
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final, cast

from realmkeep.errors import Corrupt, Unstorable
from realmkeep.records.checksum import crc32
from realmkeep.records.fields import RESERVED_NAMES, RecordInfo
from realmkeep.records.limits import Limits
from realmkeep.records.sexpr.names import Colon, key_name, key_text
from realmkeep.records.sexpr.reader import Datum, read
from realmkeep.records.sexpr.shapes import INT, TEXT, Fields, Misfit
from realmkeep.records.sexpr.types import shape_of
from realmkeep.records.sexpr.writer import datum_text

_CRC: Final = re.compile(rb' :crc "([0-9a-f]{8})"\)[ \t\r\n]*\Z')
_CRC_TAIL: Final = len(' :crc "89abcdef")') + 64  # room for a line end added by an editor


def decode_plain(stored: bytes, info: RecordInfo, limits: Limits) -> dict[str, Any]:
    """Decode a record of any version to a plain dictionary.

    The current version is read by the types of today's fields, a former one by the types that its migrations declare; other
    fields of a former version are read by their notation, see `former`.

    Keys are field names in snake_case, with `version` and `crc` if present. Values are as `json.loads` would give them, fit
    for `msgspec.convert(..., strict=True, str_keys=True)`. Unknown keys, and values that do not fit their field, are read
    without a type: property lists as dictionaries, lists as lists, `nil` as None, `t` as True, keywords and symbols as
    texts. Of a newer version that is readable by today's only today's fields are read; `kept_texts` has the others. Call
    `check_crc` first: this function does not compare the checksum.

    Raises:
        RecordTooLarge: More bytes, nodes or nesting than `limits` allows; no value beyond them was built.
        Corrupt: Malformed, not a property list, a key twice, a wrong `:version`, a number that no field can hold, or a
            `:crc` in another place than `encode` puts it.
    """
    whole = read(stored, limits)
    if isinstance(whole, list) and 0 < _told(whole, "readable_by") <= info.version < _told(whole, "version"):
        known = {*[field.name for field in info.durable], *RESERVED_NAMES}
        whole = [each for key, value in _pairs(whole) if _name(key) in known for each in (key, value)]
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


def encode(
    fields: Mapping[str, Any],
    info: RecordInfo,
    newer: tuple[int, int] | None = None,
    kept: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """Encode a record with the fields of the current version, and its checksum.

    Args:
        fields: The durable fields, and the unknown ones that are kept, as `msgspec.to_builtins` gives them, in the order of
            writing; without `version` and `crc`.
        info: The record's declaration.
        newer: The newer version under which the record was found, and the oldest that may read it; None for the current.
        kept: Further fields by name, as `kept_texts` gave them.

    Raises:
        Unstorable: A value is not of its field's type, or cannot be stored (NaN, an integer beyond 64 bits, a lone
            surrogate); the path is named.
    """
    shape = _record_shape(info, info.version)
    version, readable_by = newer or (info.version, info.readable_by)
    try:
        texts = [":version", str(version), *shape.texts(fields)]
        texts += [text for name, value in kept.items() for text in (key_text(name), value)]
        texts += [":readable-by", str(readable_by)] if readable_by is not None else []
    except Misfit as misfit:
        raise Unstorable(f"{misfit.path(info.kind)} holds {misfit}") from None
    return with_crc(f"({' '.join(texts)}".encode())


def kept_texts(stored: bytes, names: Iterable[str], limits: Limits) -> dict[str, str]:
    """The fields of a decoded record that are none of `names`, each as a text that reads back as the same data.

    Raises:
        RecordTooLarge: More bytes, nodes or nesting than `limits` allows.
        Corrupt: Malformed, or a key twice.
    """
    known = {*names, *RESERVED_NAMES}
    whole = read(stored, limits)
    kept: dict[str, str] = {}
    for key, value in _pairs(whole if isinstance(whole, list) else []):
        name = _name(key)
        if name is None or name in kept:
            raise Corrupt(
                f"A stored record has the key {key!r:.40} twice, or it is no key", hint="the bytes are kept; mend it"
            )
        if name not in known:
            kept[name] = datum_text(value)
    return kept


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
    version = _told(whole if isinstance(whole, list) else [], "version")
    if version == 0 and 0 not in info.migrations:
        version = 1
    return version if 0 <= version < info.version else info.version


def _told(entries: list[Datum], name: str) -> int:
    """The number that the data give under a name; 0 if they have no such name, -1 if it is not a whole number."""
    told = [value for key, value in _pairs(entries) if _name(key) == name]
    number = told[0] if told else 0
    return number if type(number) is int else -1


def _pairs(entries: list[Datum]) -> Iterator[tuple[Datum, Datum]]:
    return zip(entries[::2], entries[1::2], strict=False)


def _name(key: Datum) -> str | None:
    return key_name(key) if isinstance(key, Colon) or type(key) is str else None


def _record_shape(info: RecordInfo, version: int) -> Fields:
    """Return the shape of a record at a version: the types that its migrations declare, and today's for other fields."""
    shapes = {field.name: shape_of(field.type, former=version < info.version) for field in info.durable}
    for at in range(info.version - 1, version - 1, -1):
        shapes |= {name: shape_of(former) for name, former in info.former.get(at, {}).items()}
    return Fields({"version": INT, "readable_by": INT, "crc": TEXT, **shapes})
