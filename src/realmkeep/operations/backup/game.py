"""All that it takes to load the records of a game."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from realmkeep.errors import RecordError
from realmkeep.keeping.live.record_keys import limits_of
from realmkeep.operations.backup.holdings import load_holdings
from realmkeep.records import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from realmkeep.config import Config
    from realmkeep.operations.backup.holdings import Holdings
    from realmkeep.records import Limits, Record


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

    @property
    def serial_fields(self) -> frozenset[str]:
        """The fields in which its records and letters declare serials."""
        records = (cls.__realmkeep__ for cls in self.holdings.records)
        infos = (*records, *(cls.__letter__ for cls in self.holdings.letters))
        return frozenset(field for info in infos for field in info.serial_fields)

    def class_of(self, key: str) -> type[Record] | None:
        """The class of the record with this key; None if the game has none."""
        kind, *rest = key.split(":")
        suffix = rest[1] if len(rest) > 1 else ""
        classes = (cls for cls in self.holdings.records if cls.__realmkeep__.kind == kind)
        return next((cls for cls in classes if cls.__realmkeep__.suffix == suffix), None)

    def decoder(self, cls: type[Record]) -> Callable[[str], dict[str, Any] | None]:
        """Reads stored text of a class into JSON values; None if it cannot be read."""

        def decode(stored: str) -> dict[str, Any] | None:
            try:
                record = load(
                    stored.encode(), cls, limits=self.limits, accept_unchecked=self.accept_unchecked
                ).require()
            except RecordError:
                return None
            return msgspec.to_builtins(record, str_keys=True, order="deterministic")

        return decode


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
