"""Operators who are signed in at a console."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from realmkeep.clock import Clock
    from realmkeep.operations.operators.operator import Operator

IDLE_S: Final = 30 * 60.0
LASTS_S: Final = 8 * 3600.0  # a working day
LOGINS_MAX: Final = 1000  # in memory; the one that began first goes
TOKEN_BYTES: Final = 32


@dataclass(eq=False)
class ConsoleLogin:
    """One operator who is signed in.

    Attributes:
        operator: The operator, as the store had it when it was looked at last.
        began_s: Monotonic time of the login.
        looked_s: Monotonic time of the last look at the stored operator.
        seen_s: Monotonic time of its last request.
        told: The outcome of its last act, a class and a sentence each; the next page shows it.
    """

    operator: Operator
    began_s: float
    looked_s: float
    seen_s: float
    told: list[tuple[str, str]]

    def is_of(self, operator: Operator) -> bool:
        """Whether the stored operator is still the one who signed in: enabled, and with the same password."""
        return not operator.disabled and self.operator.password_hash == operator.password_hash


class ConsoleLogins:
    """The operators who are signed in at this server. The tokens are kept as digests, in memory: a restart signs all out.

    Args:
        clock: The clock.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_digest: dict[str, ConsoleLogin] = {}

    def begin(self, operator: Operator) -> str:
        """Sign an operator in; returns the token of 256 bits, which is kept nowhere else."""
        now_s, token = self._clock.monotonic_s(), secrets.token_urlsafe(TOKEN_BYTES)
        while len(self._by_digest) >= LOGINS_MAX:
            del self._by_digest[next(iter(self._by_digest))]
        self._by_digest[_digest(token)] = ConsoleLogin(operator, now_s, now_s, now_s, [])
        return token

    def find(self, token: str) -> ConsoleLogin | None:
        """The login of a token; None if it is unknown, idle for half an hour, or eight hours old."""
        now_s, digest = self._clock.monotonic_s(), _digest(token)
        found = self._by_digest.get(digest)
        if found is None:
            return None
        if now_s - found.seen_s > IDLE_S or now_s - found.began_s > LASTS_S:
            del self._by_digest[digest]
            return None
        found.seen_s = now_s
        return found

    def end(self, token: str) -> None:
        """Sign the operator of a token out; an unknown token changes nothing."""
        self._by_digest.pop(_digest(token), None)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
