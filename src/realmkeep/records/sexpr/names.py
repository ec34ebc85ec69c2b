"""Names in Lisp and in Python: keywords and symbols, keys of property lists, and characters.

Common Lisp's reader turns the unquoted letters of a symbol into capitals. So `:overworld`, `:Overworld` and
`:|OVERWORLD|` are one keyword, and `:|Overworld|` is another. Python's names are mostly small letters. Names are mapped
as by Lisp's own readtable case `:invert` (CLHS 23.1.2): a name of capitals becomes small, a name of small letters becomes
capitals, and any other stays. The mapping is its own inverse, so every name survives the way into Lisp and back, whatever
the printer's `*print-case*`.
"""

import re
import unicodedata
from typing import Final


class Symbol(str):
    """A symbol as read, by its Python name; its package is dropped."""

    __slots__ = ()


class Colon(Symbol):
    """A keyword as read: a symbol written with a leading colon."""

    __slots__ = ()


_PLAIN: Final = re.compile(r"[a-z0-9_-]+")
_ASCII: Final = re.compile(r"[ -~]+")
_FIELD: Final = re.compile(r"[a-z0-9_]+")
_CODE_POINT: Final = re.compile(r"U\+?([0-9A-F]{1,6})", re.IGNORECASE | re.ASCII)

# The names that SBCL prints for characters without a Unicode name, by code point, and those of the Lisp standard.
_C0: Final = (
    "nul soh stx etx eot enq ack bel backspace tab newline vt page return so si "
    "dle dc1 dc2 dc3 dc4 nak syn etb can em sub esc fs gs rs us"
)
_C1: Final = (
    "c80 c81 break-permitted no-break-permitted c84 next-line start-selected-area end-selected-area "
    "character-tabulation-set character-tabulation-with-justification line-tabulation-set partial-line-forward "
    "partial-line-backward reverse-linefeed single-shift-two single-shift-three device-control-string private-use-one "
    "private-use-two set-transmit-state cancel-character message-waiting start-guarded-area end-guarded-area start-string "
    "c99 single-character-introducer control-sequence-introducer string-terminator operating-system-command "
    "privacy-message application-program-command"
)
_CHARACTERS: Final = {
    **{name: chr(code) for code, name in enumerate(_C0.split())},
    **{name: chr(0x80 + code) for code, name in enumerate(_C1.split())},
    "space": " ",
    "rubout": "\x7f",
    "linefeed": "\n",
    "null": "\0",
    "escape": "\x1b",
}


def _upper(letter: str) -> str:
    """Return a letter's capital if the two correspond one to one; else the letter."""
    capital = letter.upper()
    return capital if capital.lower() == letter else letter


def _lower(letter: str) -> str:
    small = letter.lower()
    return small if small.upper() == letter else letter


def upcase(text: str) -> str:
    """Turn letters into capitals as Lisp's reader does."""
    return text.upper() if text.isascii() else "".join(map(_upper, text))


def invert(name: str) -> str:
    """Map Lisp's name of a symbol to Python's, and back; the mapping is its own inverse."""
    capitals = upcase(name)
    smalls = name.lower() if name.isascii() else "".join(map(_lower, name))
    if name == capitals:
        return smalls
    return capitals if name == smalls else name


def folded(word: str) -> str:
    """Return Python's name of a symbol written without quoting, which Lisp's reader would turn into capitals."""
    return word.lower() if word.isascii() else invert(upcase(word))


def keyword_text(name: str) -> str | None:
    """Write a keyword that Lisp and this reader read back as exactly `name`; None if only a string can hold the name.

    Names beyond ASCII are written as strings: Lisps disagree on the case of their letters.
    """
    if _PLAIN.fullmatch(name):
        return f":{name}"
    if _ASCII.fullmatch(name):
        return f":{quoted_symbol(invert(name))}"
    return None


def quoted_symbol(name: str) -> str:
    """Write a symbol by Lisp's own name of it, so that no reader changes its letters or takes it for a number."""
    return f"|{_escaped(name, '|')}|"


def string_text(text: str) -> str:
    """Write a string; the quotation mark and the backslash are escaped."""
    return f'"{_escaped(text, chr(34))}"'


def _escaped(text: str, mark: str) -> str:
    return text.replace("\\", "\\\\").replace(mark, f"\\{mark}")


def key_text(name: str) -> str:
    """Write a field's name or a dictionary's key: `player_id` as `:player-id`, other texts as strings."""
    if _FIELD.fullmatch(name):
        return f":{name.replace('_', '-')}"
    return string_text(name)


def key_name(key: Symbol | str) -> str:
    """Return the name for a key: `:player-id` is `player_id`, a string is itself."""
    return key.replace("-", "_") if isinstance(key, Symbol) else key


def character(name: str) -> str | None:
    r"""Return the character `#\name`: a single character, a name of Lisp or Unicode, or a code point; None if unknown."""
    if len(name) == 1:
        return name
    known = _CHARACTERS.get(name.lower())
    if known is not None:
        return known
    code = _CODE_POINT.fullmatch(name)
    if code is not None:
        value = int(code[1], 16)
        return chr(value) if value < 0xD800 or 0xDFFF < value <= 0x10FFFF else None
    try:
        found = unicodedata.lookup(name.replace("_", " "))
    except KeyError:
        return None
    return found if len(found) == 1 else None
