"""Every message of every client comes by here."""

from collections.abc import Mapping
from typing import Final

import structlog

from realmkeep.realm.server.game import Game
from realmkeep.realm.server.intent_handler import IntentHandler, PendingIntent
from realmkeep.realm.server.login_flow import LoginFlow
from realmkeep.realm.server.logout_flow import LogoutFlow
from realmkeep.realm.server.trade_handler import TRADE_INTENTS, TradeHandler
from realmkeep.realm.wire.bad_input import BadInput
from realmkeep.realm.wire.challenge import Challenges
from realmkeep.realm.wire.peer import Answer, Peer
from realmkeep.realm.wire.requests import (
    ChangePasswordRequest,
    CredentialsRequest,
    IntentRequest,
    LogoutRequest,
    PingRequest,
    Request,
)

PROTOCOL: Final = 1
log = structlog.get_logger("realm")


class Dispatcher:
    """What the transports deliver to.

    Args:
        game: The realm.
        challenges: What `welcome` carries.
        entrance: Lets players in.
        leaving: Ends their logins.
        name: The server's.
    """

    def __init__(
        self, game: Game, challenges: Challenges, login_flow: LoginFlow, logout_flow: LogoutFlow, *, name: str
    ) -> None:
        self._game = game
        self._challenges = challenges
        self._login_flow = login_flow
        self._logout_flow = logout_flow
        self._name = name
        self._intents = IntentHandler(game)
        self._trades = TradeHandler(game, self._intents)

    def welcome(self, peer: Peer) -> Mapping[str, object]:
        """The answer to `hello`."""
        return {
            "type": "welcome",
            "protocol": PROTOCOL,
            "server": self._name,
            "auth_public_key": self._game.accounts.public_key,
            "challenge": self._challenges.make(peer.address),
        }

    def handle_request(self, peer: Peer, request: Request, answer: Answer) -> None:
        """Take a well-formed request. Whatever we do wrong, it has a last answer: neither yes nor no.

        Raises:
            BadInput: It cannot be taken here and now.
        """
        try:
            self._take(peer, request, answer)
        except BadInput:
            raise
        except Exception as error:  # noqa: BLE001 - part of it may have happened, so the client asks anew after a login
            self._game.strangers.say(log.error, "a request failed as none should", exc_info=error)
            answer({"type": "goodbye", "reason": "outcome_unknown"})
            peer.close()

    def _take(self, peer: Peer, request: Request, answer: Answer) -> None:
        if isinstance(request, CredentialsRequest):
            self._login_flow.begin_login(peer, request, answer)
            return
        connection = self._game.connections.by_peer.get(peer)
        if connection is None:
            raise BadInput("not_logged_in", "the session has ended")
        match request:
            case IntentRequest():
                pending = PendingIntent(connection, request.intent, request.op_id, answer)
                doing = self._trades if isinstance(request.intent, TRADE_INTENTS) else self._intents
                doing.begin_intent(pending)
            case PingRequest():
                answer({"type": "pong", "t": request.t, "tick": self._game.ticks})
            case LogoutRequest():
                self._logout_flow.begin_logout(connection, peer, request, answer)
            case ChangePasswordRequest():
                self._logout_flow.begin_password_change(connection, peer, request, answer)
            case _:
                raise BadInput("unknown_type", "that is answered before login only")

    def peer_lost(self, peer: Peer) -> None:
        """A client is gone: its player stays for the time of grace, and can be fought."""
        connection = self._game.connections.by_peer.get(peer)
        if connection is not None:
            self._game.disconnect_player(connection)
