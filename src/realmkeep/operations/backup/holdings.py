"""A game's own word on what its records hold, so that a backup can be counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from realmkeep.config.named import import_named

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from realmkeep import Letter, Record


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
        players: The class of its players; None if it has none.
        refers: The fields that hold ids of players, by class: friend lists. An erasure takes the erased player out of them.
        erase_elsewhere: Erases a person beside the store, in a chat log for example: gets the keys of the person's records.
    """

    records: tuple[type[Record], ...]
    letters: tuple[type[Letter], ...]
    count: Callable[[Any, Tally], None]
    players: type[Record] | None = None
    refers: Mapping[type[Record], tuple[str, ...]] = field(default_factory=dict[Any, tuple[str, ...]])
    erase_elsewhere: Callable[[Sequence[str]], Awaitable[None]] | None = None


def load_holdings(name: str) -> Holdings:
    """Import the holdings that a setting names.

    Args:
        name: `module:object`.

    Raises:
        ConfigError: There is no such object.
    """
    return import_named(name, Holdings, setting="backup.holdings", example="mygame.holdings:HOLDINGS")
