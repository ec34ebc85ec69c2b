"""The effort of guessing a password: parts that attackers try first count for little, however long they are.

A password is split into its cheapest parts, as zxcvbn does (Wheeler, USENIX Security 2016). A common password costs three
characters; a name, a repetition, a row of keys or a count costs one; a copy of the preceding part costs nothing; any other
character costs one. Digits and signs count as the letters that they look like (`p@ssw0rd`).
"""

from collections.abc import Collection, Iterator
from typing import Final

_COMMON_COST: Final = 3  # one of 20,000 entries is as hard to guess as two to three keyboard characters
_RUN_COST: Final = 1
_TOKEN_CHARS_MAX: Final = 32  # of a common password or a copy; the longest entry of the blocklist is shorter
_COMMON_CHARS_MIN: Final = 4
_RUN_CHARS_MIN: Final = 3
_ROW_CHARS_MIN: Final = 4
_ROWS: Final = (
    "`1234567890-=", "qwertyuiop[]", "asdfghjkl;'", "zxcvbnm,./", "qwertzuiopü+", "asdfghjklöä#", "yxcvbnm,.-", "azertyuiop^$",
    "qsdfghjklmù*", "wxcvbn,;:!", "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik,9ol.0p;/", "1q2w3e4r5t6y7u8i9o0p", "q1w2e3r4t5y6u7i8o9p0",
    "йцукенгшщзхъ", "фывапролджэ", "ячсмитьбю",
)  # fmt: skip
_ALL_ROWS: Final = " ".join([*_ROWS, *(row[::-1] for row in _ROWS)])
_LEET: Final = str.maketrans(
    {"@": "a", "4": "a", "8": "b", "3": "e", "1": "i", "!": "i", "0": "o", "5": "s", "$": "s", "7": "t"}
)


def guess_effort(folded: str, *, common: Collection[str], names: Collection[str], enough: int) -> int:
    """The cost of guessing a password, in random characters; the count may stop at `enough`.

    Args:
        folded: The password, case-folded.
        common: Passwords that attackers try first, case-folded.
        names: Names of the user and of the game, case-folded.
        enough: The cost of a good password.
    """
    spelled = folded.translate(_LEET)
    costs = [0]
    runs = [_run_length(folded, end) for end in range(len(folded) + 1)]
    for end in range(1, len(folded) + 1):
        cheapest = costs[end - 1] + 1
        for start, cost in _tokens(folded, spelled, end, common, names):
            cheapest = min(cheapest, costs[start] + cost)
        for length in range(_RUN_CHARS_MIN, runs[end] + 1):
            cheapest = min(cheapest, costs[end - length] + _RUN_COST)
        costs.append(cheapest)
        if min(costs[-_TOKEN_CHARS_MAX:]) >= enough:
            break
    return costs[-1]


def _tokens(
    folded: str, spelled: str, end: int, common: Collection[str], names: Collection[str]
) -> Iterator[tuple[int, int]]:
    """The cheap parts that end at `end`: their start and their cost."""
    for name in names:
        if name and folded.endswith(name, 0, end):
            yield end - len(name), _RUN_COST
    for length in range(1, min(end, _TOKEN_CHARS_MAX) + 1):
        start = end - length
        part = folded[start:end]
        if length >= _COMMON_CHARS_MIN and (part in common or spelled[start:end] in common):
            yield start, _COMMON_COST
        if length >= _ROW_CHARS_MIN and part in _ALL_ROWS:
            yield start, _RUN_COST
        if start >= length and part == folded[start - length : start]:
            yield start, 0


def _run_length(folded: str, end: int) -> int:
    """The length of the run before `end`: one character repeated, or counting by one; at most `_TOKEN_CHARS_MAX`."""
    length = min(end, 1)
    step: int | None = None
    while length < min(end, _TOKEN_CHARS_MAX):
        now = ord(folded[end - length]) - ord(folded[end - length - 1])
        if now not in {-1, 0, 1} or step not in {None, now}:
            break
        step = now
        length += 1
    return length
