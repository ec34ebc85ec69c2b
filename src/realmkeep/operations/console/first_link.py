"""The one-time link with which the first operator of a realm is made."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from realmkeep.clock import Clock

LASTS_S: Final = 3600.0
TOKEN_BYTES: Final = 32


class FirstLink:
    """A link that works once, for an hour, as long as the realm has no operator.

    Args:
        clock: The clock.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._digest = b""
        self._ends_s = 0.0

    def make_token(self) -> str:
        """A new token; the one before ends."""
        token = secrets.token_urlsafe(TOKEN_BYTES)
        self._digest, self._ends_s = _digest(token), self._clock.monotonic_s() + LASTS_S
        return token

    def holds(self, token: str) -> bool:
        """Whether a token is the present one."""
        fresh = bool(self._digest) and self._clock.monotonic_s() <= self._ends_s
        return fresh and hmac.compare_digest(_digest(token), self._digest)

    def end(self) -> None:
        """End the link: it has been used, or the realm has an operator."""
        self._digest = b""


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
