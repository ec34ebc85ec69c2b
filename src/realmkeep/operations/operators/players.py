"""A game's own word on its players, so that operators can find, edit, move and reward them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from realmkeep.config.named import import_named

if TYPE_CHECKING:
    from collections.abc import Callable

    from realmkeep import Record, Session


@dataclass(frozen=True)
class Players:
    """The player class of a game, and the acts of operators that only the game can define.

    `gift` and `move` run inside a commit on the live record, as a commit's function does: plain functions that change the
    record, or raise `ActRefused` with a sentence for the operator.

    Attributes:
        record: The class of its players.
        name: The field with a player's name.
        gift: Gives a player an amount of a thing: `gift(player, "gold", 100)`; None if operators give nothing.
        move: Puts a player somewhere: `move(player, "town")`; None if players have no place.
    """

    record: type[Record]
    name: str = "name"
    gift: Callable[[Any, str, int], None] | None = None
    move: Callable[[Any, str], None] | None = None


@dataclass(frozen=True)
class LiveGame:
    """The reactions of a game server to acts on its live players.

    Attributes:
        kicked: Closes the player's connection, once the act is durable. Without it the session is disconnected.
        changed: Brings what the game keeps beside the record into line with it: where the player stands. Called inside the
            commit that changes the record, and again if the commit turns out not to have happened.
    """

    kicked: Callable[[Session[Any], str], None] | None = None
    changed: Callable[[Session[Any]], None] | None = None


def load_players(name: str) -> Players:
    """Import the declaration that a setting names.

    Args:
        name: `module:object`.

    Raises:
        ConfigError: There is no such object.
    """
    return import_named(name, Players, setting="operators.players", example="mygame.operated:PLAYERS")
