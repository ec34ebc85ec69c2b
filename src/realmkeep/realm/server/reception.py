"""Every message of every client comes by here."""

from collections.abc import Mapping
from typing import Final

import structlog

from realmkeep.realm.server.deals import TRADE_INTENTS, Deals
from realmkeep.realm.server.entrance import Entrance
from realmkeep.realm.server.game import Game
from realmkeep.realm.server.intents import Intents, Wish
from realmkeep.realm.server.leaving import Leaving
from realmkeep.realm.wire.bad_input import BadInput
from realmkeep.realm.wire.challenge import Challenges
from realmkeep.realm.wire.peer import Answer, Peer
from realmkeep.realm.wire.requests import Act, ChangePassword, Credentials, Logout, Ping, Request

PROTOCOL: Final = 1
log = structlog.get_logger("realm")


class Reception:
    """What the transports deliver to.

    Args:
        game: The realm.
        challenges: What `welcome` carries.
        entrance: Lets players in.
        leaving: Ends their logins.
        name: The server's.
    """

    def __init__(self, game: Game, challenges: Challenges, entrance: Entrance, leaving: Leaving, *, name: str) -> None:
        self._game = game
        self._challenges = challenges
        self._entrance = entrance
        self._leaving = leaving
        self._name = name
        self._intents = Intents(game)
        self._deals = Deals(game, self._intents)

    def welcome(self, peer: Peer) -> Mapping[str, object]:
        """The answer to `hello`."""
        return {
            "type": "welcome",
            "protocol": PROTOCOL,
            "server": self._name,
            "auth_public_key": self._game.accounts.public_key,
            "challenge": self._challenges.make(peer.address),
        }

    def handle(self, peer: Peer, request: Request, answer: Answer) -> None:
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
        if isinstance(request, Credentials):
            self._entrance.begin(peer, request, answer)
            return
        seat = self._game.seats.by_peer.get(peer)
        if seat is None:
            raise BadInput("not_logged_in", "the session has ended")
        match request:
            case Act():
                wish = Wish(seat, request.intent, request.op_id, answer)
                doing = self._deals if isinstance(request.intent, TRADE_INTENTS) else self._intents
                doing.begin(wish)
            case Ping():
                answer({"type": "pong", "t": request.t, "tick": self._game.ticks})
            case Logout():
                self._leaving.log_out(seat, peer, request, answer)
            case ChangePassword():
                self._leaving.change_password(seat, peer, request, answer)
            case _:
                raise BadInput("unknown_type", "that is answered before login only")

    def lost(self, peer: Peer) -> None:
        """A client is gone: its player stays for the time of grace, and can be fought."""
        seat = self._game.seats.by_peer.get(peer)
        if seat is not None:
            self._game.leave(seat)
