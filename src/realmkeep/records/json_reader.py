"""Reads JSON of any version into plain dictionaries; the caps hold before anything is built.

The standard library's reader does it, not msgspec's: it is the one that can see that a key stands twice. What the current
version wrote goes a shorter way, `json_codec.decode_record`.
"""

import json
import re
from typing import Any, Final, cast

from realmkeep.errors import Corrupt, RecordTooLarge
from realmkeep.records.fields import RecordInfo
from realmkeep.records.limits import Limits
from realmkeep.records.unstorable import first_fault, is_holdable

_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_OPENING: Final = frozenset(b"[{")
_CRC_WRITTEN: Final = re.compile(rb',"crc":"[0-9a-f]{8}"\}\Z')


class _Twice(ValueError):
    """A key stands twice in one object."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        keys = [key for key, _ in pairs]
        raise _Twice(next(key for key in keys if keys.count(key) > 1))
    return made


class _TooSmall(ValueError):
    """A number that a double would round to zero."""


def _float(text: str) -> float:
    """As `sexpr_reader` reads it; one that is too large becomes infinite, which no record holds."""
    value = float(text)
    if not value and text.lower().partition("e")[0].strip("-.0"):
        raise _TooSmall(text)
    return value


_decoder: Final = json.JSONDecoder(object_pairs_hook=_object, parse_float=_float)


def decode_plain(stored: bytes, info: RecordInfo, limits: Limits) -> dict[str, Any]:
    """Decode a record of any version to a plain dictionary.

    Keys are the names stored, with `version` and `crc` where they are stored. Ask `json_codec.check_crc` first: the
    checksum is not compared here.

    Args:
        stored: The bytes.
        info: What the record declares; for messages.
        limits: What the bytes must keep.

    Raises:
        RecordTooLarge: More bytes, nodes or nesting than `limits` allows; nothing was built.
        Corrupt: Not UTF-8, not JSON, not one object, a key twice, a wrong `version`, a number that no field can hold,
            half a surrogate pair, or a `crc` that is not where `encode` puts it.
    """
    _check_caps(stored, info, limits)
    what = f"A stored {info.kind}"
    try:
        plain: object = _decoder.decode(stored.decode())
    except UnicodeDecodeError as error:
        raise Corrupt(
            f"{what} is not UTF-8 at byte {error.start}", hint="the bytes are kept; restore a backup"
        ) from error
    except _Twice as twice:
        raise Corrupt(
            f"{what} has the key {twice.args[0]!r:.40} twice in one object", hint="remove one of them"
        ) from None
    except _TooSmall as number:
        raise Corrupt(
            f"{what} holds {number.args[0]:.40}, which is not within the range of a double",
            hint="the bytes are kept; mend the number",
        ) from None
    except json.JSONDecodeError as error:
        raise Corrupt(f"{what} is not JSON: {error}", hint="the bytes are kept; restore a backup") from error
    except ValueError as error:  # Python's own cap on the digits of an integer
        raise Corrupt(f"{what} holds an integer beyond 64 bits", hint="the bytes are kept; mend the number") from error
    if not isinstance(plain, dict):
        raise Corrupt(f"{what} is not a JSON object", hint="the bytes are kept; restore a backup")
    found = cast("dict[str, Any]", plain)
    if not is_holdable(found):
        raise Corrupt(
            f"{what} cannot be used: {first_fault(found, info.kind)}", hint="the bytes are kept; mend the value"
        )
    version = found.get("version", 0)
    if type(version) is not int or version < 0:
        raise Corrupt(f"{what} has a version that is no number from 0: {version!r:.40}")
    if "crc" in found and not _CRC_WRITTEN.search(stored, max(0, len(stored) - 32)):
        raise Corrupt(
            f"{what} has a crc that is not its last field as written",
            hint="a program that rewrites a record has to remove crc or append a new one",
        )
    return found


def _check_caps(stored: bytes, info: RecordInfo, limits: Limits) -> None:
    what = f"A stored {info.kind}"
    if len(stored) > limits.bytes_max:
        raise RecordTooLarge(f"{what} has {len(stored)} bytes, more than the {limits.bytes_max} allowed")
    bare = _STRING.sub(b"", stored)
    if _nodes(bare) > limits.nodes_max:
        raise RecordTooLarge(f"{what} has {_nodes(bare)} values and keys, more than the {limits.nodes_max} allowed")
    depth = 0
    for bracket in bare.translate(None, _NO_BRACKETS):
        depth += 1 if bracket in _OPENING else -1
        if depth > limits.depth_max:
            raise RecordTooLarge(f"{what} nests deeper than the {limits.depth_max} levels allowed")


def count_nodes(stored: bytes) -> int:
    """How many values, containers and keys a JSON text has; an empty container counts for two."""
    return _nodes(_STRING.sub(b"", stored))


def _nodes(bare: bytes) -> int:
    return 1 + sum(bare.count(mark) for mark in (b",", b":", b"[", b"{"))
