"""The dispatcher: every request of every client passes through it."""

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
    """Passes the requests of clients to their handlers.

    Args:
        game: The realm.
        challenges: Makes the challenges of `welcome`.
        login_flow: Handles `register` and `login`.
        logout_flow: Handles `logout` and `change_password`.
        name: The server's name.
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
        """Handle a well-formed request. After an unexpected error the client gets `goodbye` with `outcome_unknown`.

        Raises:
            BadInput: The request is not allowed at this moment.
        """
        try:
            self._take(peer, request, answer)
        except BadInput:
            raise
        except Exception as error:  # noqa: BLE001 - a part may have happened: the client repeats it after a new login
            self._game.strangers_log.say(log.error, "a request failed on an unexpected error", exc_info=error)
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
                raise BadInput("unknown_type", "this request is answered before login only")

    def peer_lost(self, peer: Peer) -> None:
        """Disconnect the player of a lost client; it stays in the game for its grace, and monsters can fight it."""
        connection = self._game.connections.by_peer.get(peer)
        if connection is not None:
            self._game.disconnect_player(connection)
