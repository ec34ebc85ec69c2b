"""Reads and writes Lisp data by the types of fields. `nil` is false, None or empty, as the type says.

Plain values are those of a decoded JSON document: the keys of dictionaries are texts, even those of `dict[int, X]`. Data
that do not fit the type are passed on as read without a type: a migration may still mend them, and the conversion to the
record refuses them as it does with JSON. This module refuses only data that no plain value can hold.

If `nil` would be ambiguous, a stand-in is written that Lisp reads and prints like any datum: `:{false}` for a False that
could also be None, `#()` for an empty list or dictionary. Without a declared type, an empty dictionary is `:{}`, and one
with a key that is not a name is `(:{dict} "Frost Brand" 2)`.
"""

import decimal
import math
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final, cast, final

from typing_extensions import override

from realmkeep.records.plain import INTEGER_MAX, INTEGER_MIN
from realmkeep.records.sexpr.names import Colon, Symbol, key_name, key_text, keyword_text, string_text
from realmkeep.records.sexpr.reader import NIL, Datum, Nil

EMPTY: Final = "#()"
FALSE: Final = Colon("{false}")
EMPTY_DICT: Final = Colon("{}")
DICT: Final = Colon("{dict}")
STAND_INS: Final = {FALSE, EMPTY_DICT, DICT}


class Misfit(Exception):
    """A value that cannot be held; as it passes through containers, each adds its step to the path."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.steps: list[str] = []

    def path(self, root: str) -> str:
        """Return the value's path, from `root` on."""
        return root + "".join(reversed(self.steps))


class Shape(ABC):
    """The reading and writing of one type; `expects` names the type in messages."""

    expects: str

    @abstractmethod
    def reads(self, datum: Datum) -> bool:
        """Whether the datum is notation for this type."""

    @abstractmethod
    def fits(self, value: Any) -> bool:
        """Whether the plain value is of this type."""

    @abstractmethod
    def _plain(self, datum: Any) -> Any: ...

    @abstractmethod
    def _text(self, value: Any) -> str: ...

    def plain(self, datum: Datum) -> Any:
        """Return the plain value of a datum; a datum that is not notation for this type is read without a type.

        Raises:
            Misfit: No plain value can hold it.
        """
        return self._plain(datum) if self.reads(datum) else UNTYPED.plain(datum)

    def text(self, value: Any) -> str:
        """Write a value.

        Raises:
            Misfit: The value is not of this type, or cannot be written.
        """
        if not self.fits(value):
            raise Misfit(f"{type(value).__name__} where {self.expects} is declared")
        return self._text(value)


@final
@dataclass(frozen=True)
class Leaf(Shape):
    """A type without parts: the exact Python types of its data and of its values, and the functions between them."""

    expects: str
    notation: frozenset[type]
    values: frozenset[type]
    read: Callable[[Any], Any]
    write: Callable[[Any], str]

    @override
    def reads(self, datum: Datum) -> bool:
        return type(datum) in self.notation

    @override
    def fits(self, value: Any) -> bool:
        return type(value) in self.values

    @override
    def _plain(self, datum: Any) -> Any:
        return self.read(datum)

    @override
    def _text(self, value: Any) -> str:
        return self.write(value)


@final
class Sequence(Shape):
    """A list, set or tuple. `items` are the entries' shapes of a tuple of fixed length; else `item` is every entry's."""

    expects = "a list"

    def __init__(self, item: Shape, items: tuple[Shape, ...] = ()) -> None:
        self.item = item
        self.items = items

    @override
    def reads(self, datum: Datum) -> bool:
        return datum is NIL or (isinstance(datum, list) and not _is_marked(datum))

    @override
    def fits(self, value: Any) -> bool:
        return isinstance(value, list | tuple)

    def _shape(self, index: int) -> Shape:
        return self.items[index] if index < len(self.items) else self.item

    @override
    def _plain(self, datum: Any) -> list[Any]:
        return self._each(() if datum is NIL else datum, lambda shape, entry: shape.plain(entry))

    @override
    def _text(self, value: Any) -> str:
        return f"({' '.join(self._each(value, lambda shape, entry: shape.text(entry)))})" if value else "nil"

    def _each(self, entries: Iterable[Any], take: Callable[[Shape, Any], Any]) -> list[Any]:
        taken: list[Any] = []
        try:
            for index, entry in enumerate(entries):
                taken.append(take(self._shape(index), entry))
        except Misfit as misfit:
            misfit.steps.append(f"[{len(taken)}]")
            raise
        return taken


class Pairs(Shape):
    """A property list: keys and values in turn."""

    expects = "a dict"

    @override
    def reads(self, datum: Datum) -> bool:
        return datum is NIL or (isinstance(datum, list) and len(datum) % 2 == 0)

    @override
    def fits(self, value: Any) -> bool:
        return isinstance(value, Mapping)

    @abstractmethod
    def key(self, datum: Datum) -> str | None:
        """Return the plain key of a datum in a key's place; None if it is not a key of this type."""

    @abstractmethod
    def key_text(self, key: Any) -> str:
        """Write a plain key.

        Raises:
            Misfit: Not a key of this type.
        """

    @abstractmethod
    def value(self, key: str) -> Shape:
        """Return the shape of a key's value."""

    @override
    def _plain(self, datum: Any) -> Any:
        entries: list[Datum] = [] if datum is NIL else datum
        keys = [self.key(raw) for raw in entries[::2]]
        plain: dict[str, Any] = {}
        for key, entry in zip(keys, entries[1::2], strict=True):
            if key is None:
                return UNTYPED.plain(datum)
            if key in plain:
                raise Misfit(f"the key {key[:40]!r} twice")
            try:
                plain[key] = self.value(key).plain(entry)
            except Misfit as misfit:
                misfit.steps.append(_step(key))
                raise
        return plain

    def texts(self, value: Mapping[Any, Any]) -> Iterator[str]:
        """Write keys and values in turn.

        Raises:
            Misfit: One of them cannot be written.
        """
        for key, entry in value.items():
            yield self.key_text(key)
            try:
                yield self.value(key).text(entry)
            except Misfit as misfit:
                misfit.steps.append(_step(key))
                raise

    @override
    def _text(self, value: Any) -> str:
        return f"({' '.join(self.texts(value))})" if value else "nil"


def _step(key: object) -> str:
    return f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{key!r:.40}]"


def _name(datum: Datum) -> str | None:
    return key_name(datum) if isinstance(datum, Colon) or type(datum) is str else None


@final
@dataclass(frozen=True)
class Fields(Pairs):
    """A record or a Part: each key has a type of its own; unknown keys are read and written without one."""

    shapes: dict[str, Shape] = field(default_factory=dict[str, Shape])

    @override
    def key(self, datum: Datum) -> str | None:
        return _name(datum)

    @override
    def key_text(self, key: Any) -> str:
        return _key(key)

    @override
    def value(self, key: str) -> Shape:
        return self.shapes.get(key, UNTYPED)


@final
@dataclass(frozen=True)
class Dict(Pairs):
    """A dictionary. `str` keys are names, as fields are: `:music-volume` is music_volume; keys of other types are exact."""

    keys: Shape
    values: Shape

    @override
    def key(self, datum: Datum) -> str | None:
        if type(datum) is int and self.keys in (INT, CHOICE):
            return str(_whole(datum))
        return str(datum) if isinstance(datum, str) and self.keys in (NAME, CHOICE) else _name(datum)

    @override
    def key_text(self, key: Any) -> str:
        if type(key) is int and self.keys in (INT, CHOICE):
            return INT.text(key)
        if self.keys is INT:
            return _integer_key(key)
        return self.keys.text(key) if self.keys in (NAME, CHOICE) else _key(key)

    @override
    def value(self, key: str) -> Shape:
        return self.values


@final
class Maybe(Shape):
    """A type or None."""

    def __init__(self, some: Shape) -> None:
        self.some = some
        self.expects = f"{some.expects} or None"

    @override
    def reads(self, datum: Datum) -> bool:
        return datum is NIL or self.some.reads(datum)

    @override
    def fits(self, value: Any) -> bool:
        return value is None or self.some.fits(value)

    @override
    def _plain(self, datum: Any) -> Any:
        return None if datum is NIL else self.some.plain(datum)

    @override
    def _text(self, value: Any) -> str:
        text = "" if value is None else self.some.text(value)
        if text == "nil":
            return f":{FALSE}" if value is False else EMPTY
        return text or "nil"


def _is_marked(datum: list[Datum]) -> bool:
    """Whether a list starts with the stand-in for a dictionary with any texts as keys."""
    return len(datum) % 2 == 1 and type(datum[0]) is Colon and datum[0] == DICT


def is_property_list(datum: list[Datum]) -> bool:
    """Whether a list without a type is a dictionary: it has keywords in the places of keys, and also other entries.

    A list of keywords alone is a list of flags (`(:first-blood :level-10)`), whatever its length.
    """
    if _is_marked(datum):
        return True
    names = [isinstance(entry, Colon) and entry not in STAND_INS for entry in datum]
    return bool(datum) and len(datum) % 2 == 0 and all(names[::2]) and not all(names)


@final
class Untyped(Shape):
    """Data without a declared type: an old field that migrations will see, or an unknown one that is kept."""

    expects = "a plain value"

    @override
    def reads(self, datum: Datum) -> bool:
        return True

    @override
    def fits(self, value: Any) -> bool:
        return value is None or type(value) in {bool, int, float, str} or isinstance(value, list | tuple | Mapping)

    @override
    def _plain(self, datum: Any) -> Any:
        if isinstance(datum, list):
            entries = cast("list[Datum]", datum)
            if _is_marked(entries):
                return _UNTYPED_FIELDS.plain(entries[1:])
            return (_UNTYPED_FIELDS if is_property_list(entries) else _UNTYPED_LIST).plain(entries)
        if isinstance(datum, Symbol):
            return False if datum == FALSE else {} if datum == EMPTY_DICT else str(datum)
        if datum is NIL:
            return None
        return next(leaf for leaf in (BOOL, INT, FLOAT, TEXT) if leaf.reads(datum)).plain(datum)

    @override
    def _text(self, value: Any) -> str:
        if value is None:
            return "nil"
        if isinstance(value, list | tuple):
            return _UNTYPED_LIST.text(value) if value else EMPTY
        if isinstance(value, Mapping):
            return self._dictionary(cast("Mapping[Any, Any]", value))
        if value is False:
            return f":{FALSE}"
        return next(leaf for leaf in (BOOL, INT, FLOAT, TEXT) if leaf.fits(value)).text(value)

    def _dictionary(self, value: Mapping[Any, Any]) -> str:
        if not value:
            return f":{EMPTY_DICT}"
        text = _UNTYPED_FIELDS.text(value)
        return text if all(_key(key).startswith(":") for key in value) else f"(:{DICT} {text[1:]}"


def _whole(value: int) -> int:
    if not INTEGER_MIN <= value <= INTEGER_MAX:
        raise Misfit("an integer beyond 64 bits")
    return value


def _double(value: float | Fraction) -> float:
    try:
        return float(value)
    except OverflowError:
        raise Misfit("a number beyond the range of a double") from None


def _float_text(value: float) -> str:
    """Write a double so that Lisp reads the same one whatever its `*read-default-float-format*`."""
    value = _double(value)
    if not math.isfinite(value):
        raise Misfit("a float that is not finite")
    subnormal = 0 < abs(value) < sys.float_info.min
    mantissa, _, exponent = (f"{_SUBNORMAL.create_decimal(value):e}" if subnormal else repr(value)).partition("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}d{int(exponent or 0)}"


def _unicode(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Misfit("a text with half a surrogate pair, which UTF-8 cannot hold") from None
    return value


def _key(key: Any) -> str:
    if type(key) is not str:
        raise Misfit(f"a key of type {type(key).__name__}")
    return key_text(_unicode(key))


def _keyword(name: str) -> str:
    """Write a keyword; a name that would read as a stand-in is written as a string."""
    return string_text(name) if name in STAND_INS else keyword_text(name) or string_text(name)


def _integer_key(key: Any) -> str:
    if type(key) is not str or not _INTEGER.fullmatch(key):
        raise Misfit(f"the key {key!r:.40} where an int is declared")
    return INT.text(int(key))


# SBCL 2.2 truncates subnormal doubles instead of rounding: 4 of 10 came back one bit smaller from their shortest text.
_SUBNORMAL: Final = decimal.Context(prec=17, rounding=decimal.ROUND_UP)
_INTEGER: Final = re.compile(r"-?[0-9]{1,20}")
_STRINGS: Final = frozenset({str, Symbol, Colon})
BOOL: Final = Leaf(
    "a bool",
    notation=frozenset({bool, Nil}),
    values=frozenset({bool}),
    read=lambda datum: datum is True,
    write=lambda value: "t" if value else "nil",
)
INT: Final = Leaf(
    "an int",
    notation=frozenset({int}),
    values=frozenset({int}),
    read=_whole,
    write=lambda value: str(_whole(value)),
)
FLOAT: Final = Leaf(
    "a float",
    notation=frozenset({float, int, Fraction}),
    values=frozenset({float, int}),
    read=_double,
    write=_float_text,
)
TEXT: Final = Leaf(
    "a str",
    notation=_STRINGS,
    values=frozenset({str}),
    read=str,
    write=lambda value: string_text(_unicode(value)),
)
"""A str, or a value with a str as its plain form (bytes, dates); keywords, symbols and characters are read as one."""
NAME: Final = Leaf(
    "a keyword",
    notation=_STRINGS,
    values=frozenset({str}),
    read=str,
    write=lambda value: _keyword(_unicode(value)),
)
CHOICE: Final = Leaf(
    "one of some values",
    notation=_STRINGS | {int},
    values=frozenset({str, int}),
    read=lambda datum: _whole(datum) if type(datum) is int else str(datum),
    write=lambda value: INT.text(value) if type(value) is int else NAME.text(value),
)
"""A `Literal` or an `Enum`: its texts are written as keywords."""
UNTYPED: Final = Untyped()
_UNTYPED_LIST: Final = Sequence(UNTYPED)
_UNTYPED_FIELDS: Final = Fields()
