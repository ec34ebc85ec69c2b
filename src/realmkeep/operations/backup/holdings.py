"""A game's own word on what its records hold, so that a backup can be counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from realmkeep.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from realmkeep import Letter, Record

HINT: Final = "name it as module:object, such as mygame.holdings:HOLDINGS; the object is a Holdings"


@dataclass
class Tally:
    """Counts what the records and letters of a store hold.

    Attributes:
        totals: The amount of each thing, by name.
        serials: How often each serial occurs; an undoubled item occurs once.
    """

    totals: Counter[str] = field(default_factory=Counter[str])
    serials: Counter[int] = field(default_factory=Counter[int])

    def add(self, name: str, amount: int) -> None:
        """Count an amount of a thing."""
        self.totals[name] += amount

    def add_serial(self, serial: int | None) -> None:
        """Count an item by its serial; without effect if it has none."""
        if serial is not None:
            self.serials[serial] += 1


@dataclass(frozen=True)
class Holdings:
    """The record classes of a game, and the function that counts what one holds.

    Attributes:
        records: Every class of records that the store may hold; accounts are always known.
        letters: Every type of letters.
        count: Counts one record, one letter, or the plain values of a letter without a type.
    """

    records: tuple[type[Record], ...]
    letters: tuple[type[Letter], ...]
    count: Callable[[Any, Tally], None]


def load_holdings(name: str) -> Holdings:
    """Import the holdings that a setting names.

    Args:
        name: `module:object`.

    Raises:
        ConfigError: There is no such object.
    """
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"backup.holdings = {name!r} cannot be imported: {error}", hint=HINT) from error
    if not isinstance(found, Holdings):
        raise ConfigError(f"backup.holdings = {name!r} is a {type(found).__name__}", hint=HINT)
    return found
