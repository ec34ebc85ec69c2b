"""One message set in two syntaxes: JSON objects and s-expression property lists."""

import json
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, TypeAlias, cast

import msgspec

from realmkeep.errors import Corrupt, RecordTooLarge
from realmkeep.realm.wire.bad_input import BadInput
from realmkeep.records import NIL, Colon, Datum, Limits, Symbol, key_name, key_text, read_sexpr, string_text

Message: TypeAlias = dict[str, Any]

WHITE_SPACE: Final = b" \t\r\n\f"
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"  # some UTF-8 writers begin a connection with it
DEPTH_MAX: Final = 8  # the deepest message of a client nests three
NODES_MAX: Final = 1_000  # the longest message of a client, an offer of 64 slots, has 400
NAMES: Final = frozenset({"type", "action", "kind", "reason", "item", "zone", "quest"})
"""Fields that hold a name of the game; an s-expression writes it as a keyword (`:type :login`)."""
FREE_TEXT: Final = frozenset({"settings"})
"""Fields whose texts, nested ones too, are the player's own: never keywords."""
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")


class Syntax(Enum):
    """The syntax of a message; the server answers in the syntax of the request."""

    JSON = "json"
    SEXPR = "sexpr"


def syntax_of(encoded: bytes) -> Syntax:
    """Tell the two apart by the first byte that is neither white space nor a byte order mark."""
    begins = encoded.removeprefix(BYTE_ORDER_MARK).lstrip(WHITE_SPACE)[:1]
    return Syntax.SEXPR if begins == b"(" else Syntax.JSON


def decode(encoded: bytes, *, bytes_max: int, nodes_max: int = NODES_MAX) -> Message:
    """Read one message. Names are in `snake_case` in both syntaxes; Lisp's `nil` is None.

    Args:
        encoded: The message, without a line end.
        bytes_max: Most bytes of a message.
        nodes_max: Most values of an s-expression; JSON needs no such bound, because it is read much faster.

    Raises:
        BadInput: `too_large` or `malformed`.
    """
    if len(encoded) > bytes_max:
        raise BadInput("too_large", f"a message has at most {bytes_max} bytes")
    encoded = encoded.removeprefix(BYTE_ORDER_MARK)
    if syntax_of(encoded) is Syntax.SEXPR:
        return _decode_sexpr(encoded, nodes_max)
    try:
        message = msgspec.json.decode(encoded)
        if isinstance(message, dict) and encoded.count(b":") != _count_names(cast("object", message), DEPTH_MAX):
            json.loads(encoded, object_pairs_hook=_once_each)  # a colon inside a text, or a duplicate name: find out
    except (msgspec.DecodeError, ValueError, RecursionError) as error:
        raise BadInput("malformed", f"not JSON: {error}") from error
    if not isinstance(message, dict):
        raise BadInput("malformed", "a message is one JSON object or one property list")
    return cast("Message", message)


def _count_names(value: object, depth_left: int) -> int:
    if not isinstance(value, (dict, list)):
        return 0
    if not depth_left:
        raise BadInput("malformed", f"more than {DEPTH_MAX} lists or objects in one another")
    inner = cast("Message", value).values() if isinstance(value, dict) else cast("list[object]", value)
    names = len(inner) if isinstance(value, dict) else 0
    return names + sum(_count_names(each, depth_left - 1) for each in inner)


def _once_each(pairs: Sequence[tuple[str, object]]) -> Message:
    """An object without duplicate names: readers differ in the value that they take of two."""
    message = dict(pairs)
    if len(message) < len(pairs):
        raise BadInput("malformed", "a name stands twice in one object or property list")
    return message


def encode(message: Mapping[str, object], syntax: Syntax) -> bytes:
    """Write one message, without a line end.

    An s-expression gets a space for a line break inside a text: over TCP a message is one line, and Lisp has no escape for
    a line break.
    """
    if syntax is Syntax.JSON:
        return msgspec.json.encode(message)
    return _plist(message, names=True).encode()


def _decode_sexpr(encoded: bytes, nodes_max: int) -> Message:
    limits = Limits(bytes_max=len(encoded), depth_max=DEPTH_MAX, nodes_max=nodes_max)
    try:
        datum = read_sexpr(encoded, limits)
    except Corrupt as error:
        raise BadInput("malformed", error.message) from error
    except RecordTooLarge as error:
        raise BadInput("malformed", f"too many values or too deep: {error.message}") from error
    message = _plain(datum)
    if not isinstance(message, dict):
        raise BadInput("malformed", "a message is one JSON object or one property list")
    return cast("Message", message)


def _plain(datum: Datum) -> object:
    """A datum as a value of JSON; a list that begins with a keyword is a property list, so an object."""
    if datum is NIL:
        return None
    if isinstance(datum, Symbol):
        return key_name(datum)
    if not isinstance(datum, list):
        return datum
    if not datum or not isinstance(datum[0], Colon):
        return [_plain(entry) for entry in datum]
    if len(datum) % 2 or not all(isinstance(key, Colon) for key in datum[::2]):
        raise BadInput("malformed", "a property list has a keyword before each value")
    pairs = zip(datum[::2], datum[1::2], strict=True)
    return _once_each([(key_name(cast("Colon", key)), _plain(value)) for key, value in pairs])


def _plist(message: Mapping[str, object], *, names: bool) -> str:
    if not message:
        return "nil"
    parts: list[str] = []
    for name, value in message.items():
        text = _printed(value, is_name=names and name in NAMES, names=names and name not in FREE_TEXT)
        parts.append(f"{key_text(name)} {text}")
    return f"({' '.join(parts)})"


def _printed(value: object, *, is_name: bool, names: bool) -> str:
    match value:
        case None | False:
            return "nil"
        case True:
            return "t"
        case str():
            return key_text(value) if is_name and _NAME.fullmatch(value) else string_text(value.replace("\n", " "))
        case int():
            return str(value)
        case float():
            return repr(value)  # `20.5`, without the `d0` of a double: readers other than Lisp know it too
        case Mapping():
            return _plist(cast("Mapping[str, object]", value), names=names)
        case Sequence():
            entries = [_printed(entry, is_name=False, names=names) for entry in cast("Sequence[object]", value)]
            return f"({' '.join(entries)})" if entries else "nil"
        case _:
            raise TypeError(f"{type(value).__name__} is no value of a message")
