"""Sealed credentials, accepted once: fresh by the client's clock or by a challenge, and never again on any server.

An accepted payload leaves a mark: a key that only one guarded write can create. The mark is in the store, so it holds for all
servers and across restarts; it expires when the payload is no longer fresh.
"""

import logging
from collections.abc import Callable
from typing import Final

from realmkeep.accounts.credentials import Credentials, read_credentials
from realmkeep.accounts.sealed_payloads import OpenedPayload, decrypt_auth_payload
from realmkeep.accounts.server_keys import ServerKeys
from realmkeep.callables import fault_of
from realmkeep.clock import Clock
from realmkeep.errors import AuthFailed, Misuse
from realmkeep.keys import sealed
from realmkeep.rate_limited_log import RateLimitedLog
from realmkeep.storage import Committed, Guard, Put, Refused, Storage, Transaction

TIMESTAMP_WINDOW_S: Final = 60.0
MARK_S: Final = 2 * TIMESTAMP_WINDOW_S + 60.0  # the whole time in which a payload can be fresh, and a minute for clocks

log = logging.getLogger("realmkeep.accounts")


class SealedLogins:
    """Opens the sealed payloads of logins.

    Args:
        keys: The server's keys.
        storage: Keeps the marks of accepted payloads.
        clock: Decides whether a timestamp is fresh.
        refusals: Bounds the log lines about refused payloads.
    """

    def __init__(self, keys: ServerKeys, storage: Storage, clock: Clock, refusals: RateLimitedLog) -> None:
        self.keys = keys
        self._storage = storage
        self._clock = clock
        self._refusals = refusals

    async def open_payload(
        self,
        payload: str,
        *,
        challenge_holds: Callable[[str], bool] = lambda _: False,
    ) -> tuple[Credentials, OpenedPayload]:
        """Open a payload if it is genuine, fresh, and was never opened before.

        Args:
            payload: The `encrypted_payload` of the request.
            challenge_holds: Whether this client was sent a challenge a short time ago (at most `MARK_S`).

        Returns:
            The credentials, and the opened payload, which seals the ticket of the answer.

        Raises:
            SealBroken: The payload cannot be opened, or holds no credentials.
            AuthFailed: `replayed`: it is not fresh, or was opened before. `unavailable`: the store cannot tell.
            Misuse: `challenge_holds` is no plain function of one argument.
        """
        if (fault := fault_of(challenge_holds, 1)) is not None:  # a coroutine is true, and would accept every challenge
            raise Misuse(f"challenge_holds: {fault}", hint="pass a plain function of the challenge")
        opened = decrypt_auth_payload(payload, self.keys)
        credentials = read_credentials(opened.plaintext)
        if not self._is_fresh(credentials, challenge_holds):
            raise self._stale("stale sealed credentials were refused")
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
            "these credentials were used before or are not fresh",
            reason="replayed",
            hint="check the clock and seal them anew",
        )
