r"""Key patterns: `*` stands for any characters, `?` for one, `\` makes the next literal; no other character is special.

The meaning is the same for every backend. Redis also gives `[` a meaning and matches `?` against bytes instead of
characters, so keys that a store has matched must still pass `compile_pattern`.
"""

import re

from realmkeep.keys import temp_age_us


def compile_pattern(pattern: str) -> re.Pattern[str]:
    r"""Return a regular expression whose `fullmatch` decides; a `\` at the very end stands for itself.

    Each `*` but the last takes the shortest stretch that lets the literal after it match, and never backtracks. For a
    glob that is always enough, and never slower than key length times pattern length.
    """
    pieces = [""]
    characters = iter(pattern)
    for character in characters:
        if character == "*":
            pieces.append("")
        elif character == "?":
            pieces[-1] += "."
        else:
            pieces[-1] += re.escape(next(characters, "\\") if character == "\\" else character)
    first, *rest = pieces
    between = "".join(f"(?>.*?{piece})" for piece in rest[:-1])
    return re.compile(first + between + (f".*{rest[-1]}" if rest else ""), re.DOTALL)


def literal_prefix(pattern: str) -> str:
    """Return the common start of all keys that match; a sorted store needs to read only that range."""
    prefix: list[str] = []
    characters = iter(pattern)
    for character in characters:
        if character in "*?":
            break
        prefix.append(next(characters, "\\") if character == "\\" else character)
    return "".join(prefix)


def is_orphan(key: str, *, now_us: int, older_than_s: float) -> bool:
    """Whether `key` is a staged value older than `older_than_s`: its writer is gone and will not rename it."""
    age_us = temp_age_us(key, now_us=now_us)
    return age_us is not None and age_us > older_than_s * 1_000_000
