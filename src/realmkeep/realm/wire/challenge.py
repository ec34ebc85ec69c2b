"""Stateless challenges: a client that returns one proves that it receives datagrams at its address.

A challenge is its time in seconds and an HMAC over that time and the address. The server keeps a key and nothing for each
address (as the cookie of DTLS, RFC 6347 section 4.2.1).
"""

import hmac
import secrets
import struct
from typing import Final

from realmkeep.clock import Clock

CHALLENGE_S: Final = 30
_SECOND: Final = struct.Struct(">I")
_MAC_BYTES: Final = 16


class Challenges:
    """Makes and checks the challenges of one server's run.

    Args:
        clock: Monotonic time suffices, because a restart makes a new key.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._key = secrets.token_bytes(32)

    def make(self, address: str) -> str:
        """A challenge for this address: 40 hexadecimal digits, valid for 30 s."""
        second = _SECOND.pack(int(self._clock.monotonic_s()))
        return (second + self._mac(second, address)).hex()

    def holds(self, challenge: str, address: str) -> bool:
        """Whether this server sent this challenge to this address within the last 30 s."""
        try:
            raw = bytes.fromhex(challenge)
        except ValueError:
            return False
        if len(raw) != _SECOND.size + _MAC_BYTES:
            return False
        second, mac = raw[: _SECOND.size], raw[_SECOND.size :]
        age_s = int(self._clock.monotonic_s()) - _SECOND.unpack(second)[0]
        return 0 <= age_s <= CHALLENGE_S and hmac.compare_digest(mac, self._mac(second, address))

    def _mac(self, second: bytes, address: str) -> bytes:
        return hmac.digest(self._key, second + address.encode(), "sha256")[:_MAC_BYTES]
