"""Just enough Lisp for a client: written from the protocol's page, sharing nothing with the server."""

import re
from typing import Any, cast

TOKEN = re.compile(r"""\s*(?:(\()|(\))|"((?:[^"\\]|\\.)*)"|([^\s()"]+))""", re.DOTALL)
NUMBER = re.compile(r"[+-]?\d+")
REAL = re.compile(r"([+-]?\d*\.?\d+)(?:[edfsl]([+-]?\d+))?", re.IGNORECASE)


class Key(str):
    """A keyword, by its name in snake_case."""

    __slots__ = ()


def read(text: str) -> Any:
    """Property lists become dictionaries, keywords texts, `nil` None and `t` True."""
    value, end = _read(text, 0)
    assert not text[end:].strip(), f"more follows: {text[end:]!r}"
    return _plain(value)


def _read(text: str, at: int) -> tuple[Any, int]:
    token = TOKEN.match(text, at)
    assert token, f"nothing to read at {text[at:]!r}"
    opened, closed, string, word = token.groups()
    if opened:
        entries: list[Any] = []
        at = token.end()
        while True:
            following = TOKEN.match(text, at)
            assert following, "the list does not end"
            if following[2]:
                return entries, following.end()
            entry, at = _read(text, at)
            entries.append(entry)
    assert not closed, "a parenthesis too many"
    if word is None:
        return re.sub(r"\\(.)", r"\1", string, flags=re.DOTALL), token.end()
    return _word(word), token.end()


def _word(word: str) -> Any:
    lower = word.lower()
    if lower in {"nil", "t"}:
        return None if lower == "nil" else True
    if word.startswith(":"):
        return Key(lower[1:].replace("-", "_"))
    if NUMBER.fullmatch(word):
        return int(word)
    real = REAL.fullmatch(word)
    assert real, f"what is {word!r}?"
    return float(f"{real[1]}e{real[2] or 0}")


def _plain(value: Any) -> Any:
    if isinstance(value, Key):
        return str(value)
    if not isinstance(value, list):
        return value
    entries = cast("list[Any]", value)
    if entries and isinstance(entries[0], Key):
        return {str(entries[i]): _plain(entries[i + 1]) for i in range(0, len(entries), 2)}
    return [_plain(entry) for entry in entries]


NAMES = {"type", "action", "item", "quest", "equipment"}


def write(message: dict[str, Any], *, upper: bool = False) -> str:
    """As a Lisp printer would have it; `upper` as most of them do."""
    parts: list[str] = []
    for name, value in message.items():
        key = ":" + name.replace("_", "-")
        text = _text(value, is_name=name in NAMES, upper=upper)
        parts += [key.upper() if upper else key, text]
    return f"({' '.join(parts)})"


def _text(value: Any, *, is_name: bool, upper: bool) -> str:
    if value is None or value is False or value == []:
        return "NIL" if upper else "nil"
    if value is True:
        return "T" if upper else "t"
    if isinstance(value, dict):
        return write(cast("dict[str, Any]", value), upper=upper)
    if isinstance(value, list):
        entries = cast("list[Any]", value)
        return f"({' '.join(_text(entry, is_name=False, upper=upper) for entry in entries)})"
    if isinstance(value, str) and not is_name:
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, str):
        key = ":" + value.replace("_", "-")
        return key.upper() if upper else key
    return f"{value:.6f}d0" if isinstance(value, float) else str(value)
