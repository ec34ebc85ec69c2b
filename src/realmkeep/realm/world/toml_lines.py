"""Where in a TOML file a value stands: the standard library's reader says so for its own errors only.

It knows the way data files are written: a table's header and each key on a line of their own.
"""

import re
from collections import Counter
from typing import Final

_HEADER: Final = re.compile(r"\s*(\[\[?)\s*([A-Za-z0-9_.\-\s]+?)\s*\]\]?\s*(?:#.*)?$")
_KEY: Final = re.compile(r"\s*([A-Za-z0-9_-]+)\s*=")


def line_numbers(text: str) -> dict[str, int]:
    """The line of every table and key, by path: `items.bread`, `zones.town.shops[0].x`."""
    found: dict[str, int] = {}
    seen = Counter[str]()
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            table = header[2].replace(" ", "")
            if header[1] == "[[":
                seen[table] += 1
                table = f"{table}[{seen[table] - 1}]"
            found[table] = number
        elif key := _KEY.match(line):
            found[f"{table}.{key[1]}".removeprefix(".")] = number
    return found


def line_of(path: str, lines: dict[str, int]) -> int:
    """The line of `path`, or of the closest thing around it that has one; 1 if nothing has."""
    while path:
        if path in lines:
            return lines[path]
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return 1
