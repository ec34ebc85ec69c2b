"""The realm's reactions to acts of operators on players that are in the game."""

from typing import Any

from realmkeep import Config, Session
from realmkeep.operations.operators.control import control_list
from realmkeep.operations.operators.players import LiveGame, load_players
from realmkeep.realm.server.game import Game
from realmkeep.realm.server.logout_flow import expel_player


def obey_operators(game: Game, config: Config) -> None:
    """Run the acts of operators that other programs put into this server's control list, until the keeper closes.

    Raises:
        ConfigError: `operators.players` names no declaration.
    """
    control_list(game.keeper, load_players(config.operators.players), live_game(game))


def live_game(game: Game) -> LiveGame:
    """The reactions of a running realm."""

    def kicked(session: Session[Any], _reason: str) -> None:
        connection = game.connections.by_id.get(session.record.player_id)
        if connection is not None and connection.session is session:
            expel_player(game, connection, "kicked")
        else:
            session.disconnect()

    def changed(session: Session[Any]) -> None:
        """Place the player where its record says, and list it under its present name."""
        connection = game.connections.by_id.get(session.record.player_id)
        if connection is not None and connection.session is session:
            game.places.remove_player(session.record)
            game.places.add_player(session.record)
            game.connections.add_player(connection)

    return LiveGame(kicked=kicked, changed=changed)
