"""Line numbers of the values in a TOML file: the standard library reports them for its own errors only.

The file must have each table header and each key on a line of its own, as data files do.
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
    """The line of `path`, or of the closest table around it with a line; 1 if there is none."""
    while path:
        if path in lines:
            return lines[path]
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return 1
