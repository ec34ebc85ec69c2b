"""The rules for new passwords: long enough, and hard to guess (NIST SP 800-63B-4, 3.1.1.2, and `guess_effort`).

There are no composition rules, because they make passwords weaker. Every character of Unicode is allowed and counts as one.
"""

import gzip
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import Final

from realmkeep.accounts.guess_effort import guess_effort
from realmkeep.accounts.usernames import fold_username
from realmkeep.errors import AuthFailed

PASSWORD_CHARS_MIN: Final = 15  # if the password is the only factor
PASSWORD_CHARS_MIN_ALLOWED: Final = 8  # if it is not
DIFFERENT_CHARS_MIN: Final = 5
EFFORT_CHARS_MAX: Final = 64  # characters that are weighed, in 3 ms at most; the rest cannot save a poor password
PASSWORD_BYTES_MAX: Final = 1024  # room for 64 characters of any script, four times over; bounds the work of a flood


@dataclass(frozen=True)
class PasswordRules:
    """The rules of one realm.

    Attributes:
        length_min: Fewest characters (code points, after NFC), from 8.
        realm_name: The name of the game or realm, forbidden as the main part of a password; empty: not compared.
    """

    length_min: int = PASSWORD_CHARS_MIN
    realm_name: str = ""

    def check_password(self, password: str, *, username: str) -> None:
        """Check a new password of a user.

        Args:
            password: As typed.
            username: As typed or folded.

        Raises:
            AuthFailed: `weak_password`; the message may be shown to the player and never contains the password.
        """
        if any("\ud800" <= char <= "\udfff" for char in password):
            raise _weak("is not valid text")
        normal = unicodedata.normalize("NFC", password)
        if len(normal) < self.length_min:
            raise _weak(f"is too short; use {self.length_min} characters or more, such as four words")
        if max(len(normal.encode()), len(password.encode())) > PASSWORD_BYTES_MAX:
            raise _weak(f"is longer than {PASSWORD_BYTES_MAX} bytes")
        folded = fold_username(password)
        if folded in common_passwords():
            raise _weak("is among the first that attackers try")
        if _is_pattern(folded):
            raise _weak("only repeats or counts")
        typed = (fold_username(username), fold_username(self.realm_name))
        names = {spelled for name in typed for spelled in (name, "".join(filter(str.isalnum, name))) if spelled}
        rest = folded
        for name in sorted(names, key=len, reverse=True):
            rest = rest.replace(name, "")
        if rest != folded and len(rest) < PASSWORD_CHARS_MIN_ALLOWED:
            raise _weak("is little more than the name of the user or of the game")
        if len(set(folded)) < DIFFERENT_CHARS_MIN:
            raise _weak(f"has fewer than {DIFFERENT_CHARS_MIN} different characters")
        guessed = guess_effort(
            folded[:EFFORT_CHARS_MAX], common=common_passwords(), names=names, enough=PASSWORD_CHARS_MIN_ALLOWED
        )
        if guessed < PASSWORD_CHARS_MIN_ALLOWED:
            raise _weak(
                "consists of parts that attackers try first: common passwords, names, rows of keys, repetitions"
            )


@cache
def common_passwords() -> frozenset[str]:
    """The package's blocklist of 20,000 passwords, case-folded. The first call reads a file: not on the event loop."""
    packed = files(__package__ or "").joinpath("common_passwords.txt.gz").read_bytes()
    return frozenset(gzip.decompress(packed).decode().splitlines())


def _is_pattern(folded: str) -> bool:
    """Whether a password repeats a part that is no password itself, or counts: `abcabcabc`, `123456789`, `aaaa`."""
    period = (folded + folded).find(folded, 1)
    part = folded[:period]
    if period < len(folded) and (period < PASSWORD_CHARS_MIN_ALLOWED or part in common_passwords()):
        return True
    steps = {ord(after) - ord(before) for before, after in pairwise(folded)}
    return len(steps) == 1


def _weak(what: str) -> AuthFailed:
    return AuthFailed(f"the password {what}", reason="weak_password")
