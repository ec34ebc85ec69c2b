"""The gateway as a client sees it: `hello` is answered, a login with the address of a server."""

from collections.abc import Mapping
from typing import Final

import structlog

from realmkeep.background import STEADY_S, Background
from realmkeep.clock import Clock
from realmkeep.errors import StorageError
from realmkeep.rate_limited_log import RateLimitedLog
from realmkeep.realm.gateway.routes import Routes
from realmkeep.realm.server.dispatcher import PROTOCOL
from realmkeep.realm.server.outcomes import auth_fail
from realmkeep.realm.wire.bad_input import BadInput
from realmkeep.realm.wire.peer import Answer, Peer
from realmkeep.realm.wire.requests import CredentialsRequest, Request

PENDING_MAX: Final = 1_024  # clients that wait for an answer; beyond it they would give up before their turn
RETRY_AFTER_S: Final = 1.0

log = structlog.get_logger("realm.gateway")


class Gateway:
    """Answers the requests of clients; one connection is for one answer.

    Args:
        routes: Chooses servers.
        background: Runs the choices.
        clock: Bounds the log.
    """

    def __init__(self, routes: Routes, background: Background, clock: Clock) -> None:
        self._routes = routes
        self._background = background
        self._asking = set[Peer]()
        self._log = RateLimitedLog(clock)

    def welcome(self, peer: Peer) -> Mapping[str, object]:
        """The answer to `hello`: no key and no challenge, because no credentials are read here."""
        return {"type": "welcome", "protocol": PROTOCOL, "server": "gateway", "auth_public_key": None, "challenge": ""}

    def handle_request(self, peer: Peer, request: Request, answer: Answer) -> None:
        """Answer a login or registration with `redirect`, or `auth_fail` if no server lets players in.

        Raises:
            BadInput: `rate_limited`: a choice for this peer, or too many, are under way; `not_logged_in`: another request.
        """
        if not isinstance(request, CredentialsRequest):
            raise BadInput("not_logged_in", "a gateway answers hello, login and register")
        if peer in self._asking or len(self._asking) >= PENDING_MAX:
            raise BadInput("rate_limited", "too many requests are under way; try again in a moment")
        self._asking.add(peer)
        self._background.run(f"route for {peer.address}", self._redirect(peer, request, answer), lasts_s=STEADY_S)

    async def _redirect(self, peer: Peer, request: CredentialsRequest, answer: Answer) -> None:
        try:
            route = await self._routes.choose(request.username or "", request.server or "")
            if route is None:
                answer(auth_fail("unavailable", RETRY_AFTER_S))
            else:
                address = route.address
                told = {"server": route.server, "host": address.host, "tcp": address.tcp, "udp": address.udp}
                answer({"type": "redirect", **told})
        except StorageError as error:
            self._log.say(log.warning, "the store cannot be reached", error=str(error))
            answer(auth_fail("unavailable", RETRY_AFTER_S))
        finally:
            self._asking.discard(peer)
            peer.close()

    def peer_lost(self, peer: Peer) -> None:
        """Nothing to do: no peer has a session here."""
