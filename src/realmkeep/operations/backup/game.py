"""All that it takes to load the records of a game."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from realmkeep.keeping.live.record_keys import limits_of
from realmkeep.operations.backup.holdings import load_holdings

if TYPE_CHECKING:
    from realmkeep.config import Config
    from realmkeep.operations.backup.holdings import Holdings
    from realmkeep.records import Limits


@dataclass(frozen=True)
class Game:
    """The loading path of one game.

    Attributes:
        holdings: Its classes, and how they are counted.
        limits: The caps on one record.
        accept_unchecked: As `records.accept_unchecked`.
    """

    holdings: Holdings
    limits: Limits
    accept_unchecked: bool


def game_of(config: Config) -> Game:
    """The game of these settings.

    Raises:
        ConfigError: `backup.holdings` names no holdings.
    """
    return Game(
        load_holdings(config.backup.holdings),
        limits_of(config.records),
        accept_unchecked=config.records.accept_unchecked,
    )
