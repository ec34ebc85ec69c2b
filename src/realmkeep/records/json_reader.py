"""Reads JSON of any version into plain dictionaries; the caps hold before any value is built.

msgspec decodes; what it does not take as it is goes to the standard library's decoder, which names the fault. Bytes of the
current version take a faster path, `json_codec.decode_record`.
"""

import json
import re
from typing import Any, Final, cast

import msgspec

from realmkeep.errors import Corrupt, RecordTooLarge
from realmkeep.records.fields import RecordInfo
from realmkeep.records.limits import Limits
from realmkeep.records.plain import Plain, count_keys
from realmkeep.records.unstorable import first_fault

_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+|(?!))*+"', re.DOTALL)  # `(?!)`: see sexpr/reader.py
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_OPENING: Final = frozenset(b"[{")
_CRC_WRITTEN: Final = re.compile(rb',"crc":"[0-9a-f]{8}"\}\Z')


class _DuplicateKey(ValueError):
    """One object has the same key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _DuplicateKey(next(key for key in keys if keys.count(key) > 1))
    return made


class _Underflow(ValueError):
    """A number that a double would round to zero."""


def _float(text: str) -> float:
    """Read a float as `sexpr.reader` does; one that is too large becomes infinite, which no record holds."""
    value = float(text)
    if not value and text.lower().partition("e")[0].strip("-.0"):
        raise _Underflow(text)
    return value


_decode_quickly: Final = msgspec.json.Decoder(Plain, float_hook=_float).decode
_decode_slowly: Final = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float).decode


def decode_plain(stored: bytes, info: RecordInfo, limits: Limits) -> dict[str, Any]:
    """Decode a record of any version to a plain dictionary.

    Keys are the names stored, with `version` and `crc` if present. Call `json_codec.check_crc` first: this function does
    not compare the checksum.

    Args:
        stored: The bytes.
        info: The record's declaration, for messages.
        limits: The caps on the bytes.

    Raises:
        RecordTooLarge: More bytes, nodes or nesting than `limits` allows; no value was built.
        Corrupt: Not UTF-8, not JSON, not one object, a key twice, a wrong `version`, a number that no field can hold,
            half a surrogate pair, or a `crc` in another place than `encode` puts it.
    """
    _check_caps(stored, info, limits)
    what = f"A stored {info.kind}"
    found = _found_quickly(stored, limits) or _found_slowly(stored, info.kind)
    version = found.get("version", 0)
    if type(version) is not int or version < 0:
        raise Corrupt(f"{what} has a version that is not a whole number from 0: {version!r:.40}")
    if "crc" in found and not _CRC_WRITTEN.search(stored, max(0, len(stored) - 32)):
        raise Corrupt(
            f"{what} has a crc that is not its last field, as `encode` writes it",
            hint="a program that rewrites a record must remove crc or append a new one",
        )
    return found


def _found_quickly(stored: bytes, limits: Limits) -> Plain | None:
    """The object, at msgspec's speed; None if there is anything to say about it."""
    try:
        found = _decode_quickly(stored)
    except (msgspec.MsgspecError, ValueError):
        return None
    keys = count_keys(found, limits)
    # Of a key that stands twice msgspec keeps one: then fewer keys are found than there are colons outside of texts.
    if keys is None or (keys != stored.count(b":") and keys != _STRING.sub(b"", stored).count(b":")):
        return None
    return found


def _found_slowly(stored: bytes, kind: str) -> Plain:
    """The object, by the standard library.

    Raises:
        Corrupt: As `decode_plain`.
    """
    what = f"A stored {kind}"
    try:
        found: object = _decode_slowly(stored.decode())
    except UnicodeDecodeError as error:
        raise Corrupt(
            f"{what} is not UTF-8 at byte {error.start}", hint="the bytes are kept; restore a backup"
        ) from error
    except _DuplicateKey as twice:
        raise Corrupt(
            f"{what} has the key {twice.args[0]!r:.40} twice in one object", hint="remove one of them"
        ) from None
    except _Underflow as number:
        raise Corrupt(
            f"{what} holds {number.args[0]:.40}, a number outside the range of a double",
            hint="the bytes are kept; mend the number",
        ) from None
    except json.JSONDecodeError as error:
        raise Corrupt(f"{what} is not JSON: {error}", hint="the bytes are kept; restore a backup") from error
    except ValueError as error:  # Python's limit on the digits of an integer
        raise Corrupt(f"{what} holds an integer beyond 64 bits", hint="the bytes are kept; mend the number") from error
    if not isinstance(found, dict):
        raise Corrupt(f"{what} is not a JSON object", hint="the bytes are kept; restore a backup")
    if (fault := first_fault(cast("Plain", found), kind)) is not None:
        raise Corrupt(f"{what} cannot be used: {fault}", hint="the bytes are kept; mend the value")
    return cast("Plain", found)


def _check_caps(stored: bytes, info: RecordInfo, limits: Limits) -> None:
    what = f"A stored {info.kind}"
    if len(stored) > limits.bytes_max:
        raise RecordTooLarge(f"{what} has {len(stored)} bytes, more than the {limits.bytes_max} allowed")
    if len(stored) <= limits.bytes_safe_max and stored.count(b"[") + stored.count(b"{") <= limits.depth_max:
        return  # it can have neither more nodes nor more levels
    bare = _STRING.sub(b"", stored)
    if _nodes(bare) > limits.nodes_max:
        raise RecordTooLarge(f"{what} has {_nodes(bare)} values and keys, more than the {limits.nodes_max} allowed")
    depth = 0
    for bracket in bare.translate(None, _NO_BRACKETS):
        depth += 1 if bracket in _OPENING else -1
        if depth > limits.depth_max:
            raise RecordTooLarge(f"{what} nests deeper than the {limits.depth_max} levels allowed")


def count_nodes(stored: bytes) -> int:
    """Count the values, containers and keys of a JSON text; an empty container counts as two."""
    return _nodes(_STRING.sub(b"", stored))


def _nodes(bare: bytes) -> int:
    return 1 + sum(bare.count(mark) for mark in (b",", b":", b"[", b"{"))
