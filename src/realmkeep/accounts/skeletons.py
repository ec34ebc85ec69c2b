"""Skeletons of user names: names that look alike have the same skeleton (UTS 39, section 4).

Three rules go beyond the standard. Capitals count as small letters, since a small `o` looks as much like a zero as a capital
one. A dot above `i` or `j` is ignored, since it is drawn over the letter's own dot. A repeated accent counts once, since both
are drawn in the same place.
"""

import gzip
import unicodedata
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

from realmkeep.accounts.usernames import fold_username

TABLE_VERSION: Final = "1"  # a new version makes the next server compute all skeletons again
_DOT_ABOVE: Final = "\u0307"
_SEPARATORS: Final = str.maketrans("_-", "  ")
_DOTTED: Final = frozenset("ij")


@cache
def confusables() -> Mapping[str, str]:
    """The look of each character of names, by character. The first call reads a file: not on the event loop."""
    packed = files(__package__ or "").joinpath("confusables.txt.gz").read_bytes()
    return {line[0]: line[1:] for line in gzip.decompress(packed).decode().splitlines()}


def skeleton(name: str) -> str:
    """The skeleton of a name: the same for all names that look the same, in any script.

    Args:
        name: As typed or folded.
    """
    table = confusables()
    decomposed = unicodedata.normalize("NFD", fold_username(name))
    looks = unicodedata.normalize("NFD", "".join(table.get(char, char) for char in decomposed))
    kept: list[str] = []
    base = ""
    for char in looks:
        if not unicodedata.combining(char):
            base = char
        is_hidden = kept and char == kept[-1] and unicodedata.combining(char)
        if not is_hidden and (char != _DOT_ABOVE or base not in _DOTTED):
            kept.append(char)
    return "".join(kept)


def bare_skeletons(name: str) -> frozenset[str]:
    """The skeletons of a name without hyphens, underscores and blanks: with and without the digits at its ends."""
    joined = "".join(fold_username(name).translate(_SEPARATORS).split())
    return frozenset(skeleton(each) for each in (joined, joined.strip("0123456789")) if each)
