"""Reads the output of Lisp printers as data. It evaluates nothing and interns no symbol, and every cap holds first.

It reads integers (decimal, `#x`, `#o`, `#b`), ratios, floats, strings, characters, keywords and symbols in any case and
with `|quoted parts|`, `nil` and `t`, lists, `#(...)` vectors, `'x` and `(quote x)`, which mean x, and comments. Any other
notation (`#.`, `#S`, `#'`, backquotes, dotted pairs, text after the first datum) is an error that names the byte.

A float is the double nearest to its decimal text, whatever its exponent letter: `1.1` is Python's 1.1, although Lisp's
default single float would be 1.10000002384185791015625. A text beyond the doubles (`1d999`, `1d-999`) is an error.
"""

import re
from enum import Enum
from fractions import Fraction
from math import isinf
from typing import Final, Literal, TypeAlias

from realmkeep.errors import Corrupt, RecordTooLarge
from realmkeep.records.limits import Limits
from realmkeep.records.sexpr.names import Colon, Symbol, character, folded, invert, upcase


class Nil(Enum):
    """The datum `nil`: the empty list, false, or nothing, as the field's type says."""

    NIL = "nil"


NIL: Final = Nil.NIL

Datum: TypeAlias = "int | float | Fraction | str | Literal[Nil.NIL] | list[Datum]"
"""Strings and characters are a str, symbols its subclasses; `t` is True; an empty list is `#()`, never `()` or `nil`."""

NUMBER_CHARS_MAX: Final = 400  # the largest double written out has 309 digits; Python's int() takes quadratic time

# The characters of a symbol or number: all but blanks, control characters and the marks that end or quote a token. `#`
# cannot begin one. All quantifiers are possessive (`*+`), so no input can make the expression backtrack. Before Python 3.11.5
# a repeated group that fails in its middle has that half matched (gh-106052), unless its last alternative is `(?!)`.
_PART: Final = r"[^\x00-\x20\x7f()\"';`,|\\]"
_TOKEN: Final = re.compile(
    rf"""
    [ \t\n\r\f]*+ (?: ;[^\n]*+ [ \t\n\r\f]*+ )*+
    (?:
      (:[a-zA-Z0-9-]++ (?=[ \n()]))                   # 1 keyword, the simple and usual kind
    | ((?!\#){_PART}++ (?![|\\]))                     # 2 any other symbol without quoting, or a number
    | (\()                                            # 3
    | (\))                                            # 4
    | "( [^"\\]*+ (?: \\.[^"\\]*+ | (?!) )*+ )"              # 5 string
    | ((?!\#)(?: {_PART}++ | \\. | \|[^|\\]*+(?:\\.[^|\\]*+|(?!))*+\| | (?!) )++)  # 6 symbol with quoted parts
    | (')                                             # 7
    | (\#\()                                          # 8 vector
    | (\#\|)                                          # 9 block comment
    | \#\\(.{_PART}*+)                                # 10 character
    | \#([xXoObB])({_PART}++)                         # 11, 12 integer in another base
    | (\Z)                                            # 13 end
    | (.)                                             # 14 any other character
    )
    """,
    re.VERBOSE | re.DOTALL,
)
_KEYWORD, _WORD, _OPEN, _CLOSE, _STRING, _QUOTED, _QUOTE, _VECTOR, _COMMENT, _CHARACTER, _, _BASED, _END = range(1, 14)

_ENDS: Final = {_CLOSE, _END}
_BEGINNINGS: Final = {_OPEN, _VECTOR}
_LEAD: Final = {_STRING: 1, _CHARACTER: 2, _BASED: 2}  # the characters of a token before its group

_NUMBER: Final = re.compile(
    r"""
      (?P<integer> [+-]?[0-9]++) \.?
    | (?P<over> [+-]?[0-9]++) / (?P<under> [0-9]++)
    | (?P<float> [+-]?(?: [0-9]*+\.[0-9]++ | [0-9]++\.?+ (?=[esfdl])) ) (?: [esfdl] (?P<exponent> [+-]?[0-9]++) )?
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_QUOTED_PART: Final = re.compile(r"\|((?:[^|\\]|\\.|(?!))*+)\||\\(.)|([^|\\]++)", re.DOTALL)
_COLONS: Final = re.compile("::?")
_BLOCK: Final = re.compile(r"\#\||\|\#")
_DIGITS: Final = {"x": (16, frozenset("0123456789abcdef")), "o": (8, frozenset("01234567")), "b": (2, frozenset("01"))}


class _Malformed(Exception):
    """The fault of one token; `_Reader` adds its place."""


def read(stored: bytes, limits: Limits) -> Datum:
    """Read exactly one datum.

    Raises:
        RecordTooLarge: More bytes, nodes or nesting than `limits` allows; no value beyond them was built.
        Corrupt: Malformed, truncated, followed by more text, not UTF-8, or a notation that is not data; names the byte.
    """
    if len(stored) > limits.bytes_max:
        raise RecordTooLarge(
            f"A record of {len(stored)} bytes exceeds the cap of {limits.bytes_max}",
            hint="raise the cap or shrink the record",
        )
    try:
        text = stored.decode()
    except UnicodeDecodeError as error:
        raise Corrupt(f"Not UTF-8 at byte {error.start}") from error
    return _Reader(text, limits).datum()


class _Reader:
    """The reading of one text; `_place` is the current token, for messages."""

    __slots__ = ("_depth_max", "_nodes_max", "_place", "_text")

    def __init__(self, text: str, limits: Limits) -> None:
        self._text = text
        self._nodes_max = limits.nodes_max
        self._depth_max = limits.depth_max
        self._place = 0

    def datum(self) -> Datum:
        """Read with an explicit stack, so that no nesting can exhaust Python's."""
        match, text = _TOKEN.match, self._text
        whole: list[Datum] = []
        inner = whole
        outer: list[tuple[list[Datum], bool]] = []
        position = nodes = 0
        quoting = False
        while True:
            token = match(text, position)
            assert token is not None  # the last alternatives match the end and any character
            kind, position = token.lastindex or 0, token.end()
            self._place = token.start(kind) - _LEAD.get(kind, 0)
            if kind == _COMMENT:
                position = self._comment_end(position)
                continue
            if kind in _ENDS:
                if quoting:
                    raise self._error("a quote without a value")
                if kind == _END:
                    return self._single_datum(whole, inner)
                inner = self._closed(inner, outer)
                continue
            nodes += 1
            if nodes > self._nodes_max:
                raise RecordTooLarge(f"More than {self._nodes_max} values at byte {self._offset()}")
            if whole and inner is whole:
                raise self._error("text after the first value")
            quoting = kind == _QUOTE
            if kind in _BEGINNINGS:
                outer.append((inner, kind == _VECTOR))
                inner = self._opened(len(outer))
            elif not quoting:
                inner.append(self._atom(kind, token))

    def _opened(self, depth: int) -> list[Datum]:
        if depth > self._depth_max:
            raise RecordTooLarge(f"Nested deeper than {self._depth_max} at byte {self._offset()}")
        return []

    def _closed(self, inner: list[Datum], outer: list[tuple[list[Datum], bool]]) -> list[Datum]:
        """Put a finished list into the list around it, and return the latter."""
        if not outer:
            raise self._error("a closing parenthesis too many")
        around, vector = outer.pop()
        if vector or inner:
            around.append(inner if vector or not _is_quote(inner) else inner[1])
        else:
            around.append(NIL)
        return around

    def _single_datum(self, whole: list[Datum], inner: list[Datum]) -> Datum:
        if inner is not whole:
            raise self._error("the text ends inside a list")
        if not whole:
            raise self._error("the text has no value")
        return whole[0]

    def _atom(self, kind: int, token: re.Match[str]) -> Datum:
        part = token[kind]
        try:
            if kind == _KEYWORD:
                return Colon(part[1:].lower())
            if kind == _WORD:
                return _word(part)
            if kind == _STRING:
                return _unescaped(part) if "\\" in part else part
            if kind == _QUOTED:
                return _quoted(part)
            if kind == _CHARACTER:
                return _character(part)
            if kind == _BASED:
                return _based(token[kind - 1], part)
        except _Malformed as error:
            raise self._error(str(error)) from None
        if part == "#":
            raise self._error(f"the notation {self._text[self._place : self._place + 2]!r} is not data")
        raise self._error("the text ends inside a string or symbol" if part in '"|\\' else f"{part!r} is not data")

    def _comment_end(self, position: int) -> int:
        depth = 1
        while depth:
            mark = _BLOCK.search(self._text, position)
            if mark is None:
                raise self._error("the text ends inside a comment")
            depth += 1 if mark[0] == "#|" else -1
            position = mark.end()
        return position

    def _offset(self) -> int:
        return len(self._text[: self._place].encode())

    def _error(self, what: str) -> Corrupt:
        return Corrupt(f"Malformed s-expression at byte {self._offset()}: {what}", hint="the bytes are kept")


def _unescaped(text: str) -> str:
    r"""Return a string's contents: `\x` stands for `x`. It splits and joins, because a message may have thousands."""
    return "\\".join([part.replace("\\", "") for part in text.split("\\\\")])


def _is_quote(items: list[Datum]) -> bool:
    return len(items) == 2 and items[0] == "quote" and type(items[0]) is Symbol


def _word(word: str) -> Datum:
    if len(word) < 19 and word.isascii() and word.isdigit():  # the fast path for nearly every number of a record
        return int(word)
    if word[0] in "+-.0123456789":
        number = _NUMBER.fullmatch(word)
        if number is not None:
            return _number(word, number)
        if not word.strip("."):
            raise _Malformed("a dotted pair is not data" if word == "." else "dots alone are not a symbol")
    *packages, name = _COLONS.split(word)
    if len(packages) > 1 or not name:
        raise _Malformed("a colon without a package or name")
    return _named(packages[0] if packages else None, folded(name))


def _named(package: str | None, name: str) -> Datum:
    """Return a symbol by its Python name; every package but the keywords' is assumed to use Common Lisp's `nil` and `t`."""
    if package is not None and (not package or package.lower() == "keyword"):
        return Colon(name)
    if name == "nil":
        return NIL
    return True if name == "t" else Symbol(name)


def _quoted(token: str) -> Datum:
    r"""Read a symbol with `|parts|` or `\x`: these keep their letters, the rest becomes capitals. It is never a number."""
    name, package = "", None
    for part in _QUOTED_PART.finditer(token):
        exact, escaped, plain = part.groups()
        if plain is None:
            name += escaped or _ESCAPED.sub(r"\1", exact)
            continue
        *packages, plain = _COLONS.split(plain)
        if packages:
            if package is not None or len(packages) > 1:
                raise _Malformed("a colon without a package or name")
            package, name = name + upcase(packages[0]), ""
        name += upcase(plain)
    return _named(package, invert(name))


def _number(word: str, number: re.Match[str]) -> Datum:
    if len(word) > NUMBER_CHARS_MAX:
        raise _Malformed(f"a number of {len(word)} characters")
    if number["integer"]:
        return int(number["integer"])
    if number["over"]:
        over, under = int(number["over"]), int(number["under"])
        if not under:
            raise _Malformed("a ratio with the denominator 0")
        ratio = Fraction(over, under)
        return ratio.numerator if ratio.denominator == 1 else ratio
    value = float(f"{number['float']}e{number['exponent'] or 0}")
    if isinf(value) or (not value and number["float"].strip("+-.0")):
        raise _Malformed(f"{word[:40]} is outside the range of a double")
    return value


def _based(letter: str, digits: str) -> int:
    base, allowed = _DIGITS[letter.lower()]
    if len(digits) > NUMBER_CHARS_MAX:
        raise _Malformed(f"a number of {len(digits)} characters")
    unsigned = digits[1:] if digits[0] in "+-" else digits
    if not unsigned or not allowed.issuperset(unsigned.lower()):
        raise _Malformed(f"{digits[:40]} is not an integer in base {base}")
    return int(digits, base)


def _character(name: str) -> str:
    found = character(name)
    if found is None:
        raise _Malformed(f"no character is named {name[:40]!r}")
    return found
