"""User names: one folded spelling for each, and no invisible characters. `skeletons` handles look-alikes."""

import unicodedata
from typing import Final

from realmkeep.errors import AuthFailed

USERNAME_CHARS_MIN: Final = 3
USERNAME_CHARS_MAX: Final = 32
MARKS_IN_A_ROW_MAX: Final = 4  # UTS 39, section 5.4: longer runs are decoration, not spelling
_PUNCTUATION: Final = frozenset("_-")
_ASCII_DIGITS: Final = frozenset("0123456789")
_WRITTEN_TOGETHER: Final = frozenset({"LATIN", "CJK", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO"})
_INVISIBLE: Final = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0"  # letters and marks that draw nothing
    + "".join(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))  # variation selectors
)


def fold_username(name: str) -> str:
    """The folded form of a name, the same for all its spellings: NFKC, case-folded (Unicode's toNFKC_Casefold).

    Folding is idempotent. `check_username` decides whether a name is allowed.
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def check_username(name: str) -> str:
    """Fold `name` and return it if a new account may have it.

    A folded name has 3 to 32 characters: letters of one script with their combining marks, the digits `0-9`, `_` and `-`; it
    begins with a letter or a digit. Latin may be mixed with Chinese, Japanese and Korean, as people write them. Other
    mixtures are refused, because they make one name look like another (after UTS 39, "highly restrictive").

    Raises:
        AuthFailed: `bad_username`; the message may be shown to the player.
    """
    folded = fold_username(name)
    if not USERNAME_CHARS_MIN <= len(folded) <= USERNAME_CHARS_MAX:
        raise _bad(f"has {len(folded)} characters; use {USERNAME_CHARS_MIN} to {USERNAME_CHARS_MAX}")
    if not _begins_a_word(folded[0]):
        raise _bad("does not begin with a letter or a digit")
    marks = 0
    for char in folded:
        marks = marks + 1 if unicodedata.category(char) in {"Mn", "Mc"} else 0
        if marks > MARKS_IN_A_ROW_MAX:
            raise _bad("has too many accents on one letter")
        if char in _INVISIBLE or not (marks or _begins_a_word(char) or char in _PUNCTUATION):
            raise _bad(f"has a character that is not allowed (U+{ord(char):04X}); use letters, digits, '_' and '-'")
    scripts = {_script(char) for char in folded if unicodedata.category(char)[0] == "L"}
    if len(scripts) > 1 and not scripts <= _WRITTEN_TOGETHER:
        raise _bad("mixes letters of several scripts")
    return folded


def _begins_a_word(char: str) -> bool:
    return char in _ASCII_DIGITS or unicodedata.category(char)[0] == "L"


def _script(letter: str) -> str:
    """The script of a letter: the first word of its Unicode name, the best source in the standard library."""
    return unicodedata.name(letter, "UNNAMED").partition(" ")[0].partition("-")[0]


def _bad(what: str) -> AuthFailed:
    return AuthFailed(f"the user name {what}", reason="bad_username")
