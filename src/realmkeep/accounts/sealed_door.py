"""Opens sealed credentials once: fresh by the client's clock or by a challenge, and never a second time on any server.

The mark of a payload is a key of the store that only the first one can make. So it holds across restarts and servers, and it
expires once the payload could not be fresh any more.
"""

import logging
from collections.abc import Callable
from typing import Final

from realmkeep.accounts.credentials import Credentials, read_credentials
from realmkeep.accounts.sealed import OpenedPayload, decrypt_auth_payload
from realmkeep.accounts.server_keys import ServerKeys
from realmkeep.callables import fault_of
from realmkeep.clock import Clock
from realmkeep.errors import AuthFailed, Misuse
from realmkeep.keys import sealed
from realmkeep.rate_limited_log import RateLimitedLog
from realmkeep.storage import Committed, Guard, Put, Refused, Storage, Transaction

TIMESTAMP_WINDOW_S: Final = 60.0
MARK_S: Final = 2 * TIMESTAMP_WINDOW_S + 60.0  # from the earliest to the latest it is fresh; and clocks differ

log = logging.getLogger("realmkeep.accounts")


class SealedDoor:
    """Where sealed credentials come in.

    Args:
        keys: The server's keys.
        storage: Keeps the marks of the payloads that were accepted.
        clock: Decides what is fresh.
        refusals: Bounds the lines that say why a payload was refused.
    """

    def __init__(self, keys: ServerKeys, storage: Storage, clock: Clock, refusals: RateLimitedLog) -> None:
        self.keys = keys
        self._storage = storage
        self._clock = clock
        self._refusals = refusals

    async def open(
        self,
        payload: str,
        *,
        challenge_holds: Callable[[str], bool] = lambda _: False,
    ) -> tuple[Credentials, OpenedPayload]:
        """Open `payload` if it is genuine, fresh, and was never opened before.

        Args:
            payload: `encrypted_payload` as it came.
            challenge_holds: Whether a challenge was sent to this client a short time ago (at most `MARK_S`).

        Returns:
            What it says, and what seals the ticket for the answer.

        Raises:
            SealBroken: It cannot be opened, or holds no credentials.
            AuthFailed: `replayed`: it is not fresh, or was opened before. `unavailable`: the store cannot tell.
            Misuse: `challenge_holds` is no plain function of one argument.
        """
        if (fault := fault_of(challenge_holds, 1)) is not None:  # a coroutine is true, and would let everybody in
            raise Misuse(f"challenge_holds: {fault}", hint="pass a plain function of the challenge")
        opened = decrypt_auth_payload(payload, self.keys)
        credentials = read_credentials(opened.plaintext)
        if not self._is_fresh(credentials, challenge_holds):
            raise self._stale("sealed credentials from another time were refused")
        mark = sealed(opened.digest)
        (outcome,) = await self._storage.write([Transaction([Guard(mark, None)], [Put(mark, b"", expire_s=MARK_S)])])
        match outcome:
            case Committed():
                return credentials, opened
            case Refused():
                raise self._stale("sealed credentials were sent a second time")
            case _:
                raise AuthFailed(
                    "the server cannot check this now",
                    reason="unavailable",
                    hint="seal the credentials anew and try again",
                ) from outcome.error

    def _is_fresh(self, credentials: Credentials, challenge_holds: Callable[[str], bool]) -> bool:
        if credentials.timestamp_s is not None:
            return abs(self._clock.wall_us() / 1e6 - credentials.timestamp_s) <= TIMESTAMP_WINDOW_S
        return bool(credentials.challenge) and challenge_holds(credentials.challenge) is True

    def _stale(self, why: str) -> AuthFailed:
        self._refusals.say(log.warning, "%s", why)
        return AuthFailed(
            "these credentials were used before or are not of now",
            reason="replayed",
            hint="check the clock and seal them anew",
        )
