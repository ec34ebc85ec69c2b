"""A board, as a game asks it: the best, the ranks around a player, those among friends; also of seasons that have ended."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from realmkeep.errors import InvalidKey, Misuse
from realmkeep.keys import check_id
from realmkeep.records import ranked_field

if TYPE_CHECKING:
    from collections.abc import Sequence

ENTRIES_MAX: Final = 1000  # in one answer
SEASON_CHARS_MAX: Final = 64


@dataclass(frozen=True, slots=True)
class Standing:
    """One record on a board.

    Attributes:
        id: The record's id, as text.
        score: The value of its ranked field.
        rank: Its place, from 1. Of two equal scores the one that was reached earlier is before the other. None where the place
            is known by its share alone.
        top_percent: The record is among the best so many percent, from 1 to 100.
        reached_us: When the score was seen first, in microseconds since the epoch.
    """

    id: str
    score: int
    rank: int | None
    top_percent: int
    reached_us: int


@dataclass(frozen=True, slots=True)
class Season:
    """A season of a board.

    Attributes:
        name: Its name; empty while it runs.
        began_us: Its begin, in microseconds since the epoch; None where nobody knows it.
        ended_us: Its end; None while it runs.
    """

    name: str
    began_us: int | None
    ended_us: int | None


class BoardSource(Protocol):
    """Where boards come from. Every method raises `StorageError` if that cannot be reached.

    Attributes:
        covers: The records that it ranks, in one sentence.
    """

    covers: str

    async def top(self, board: str, season: str, count: int, after: int) -> list[Standing]:
        """The ranks `after + 1` to `after + count`."""
        ...

    async def around(self, board: str, season: str, id: str, count: int) -> list[Standing]:  # noqa: A002 - the field's own name
        """A record with up to `count` before and after it; empty if it is not on the board."""
        ...

    async def among(self, board: str, season: str, ids: Sequence[str]) -> list[Standing]:
        """Those of these records that are on the board, the best first, with their places on the whole board."""
        ...

    async def seasons(self, board: str) -> list[Season]:
        """The seasons, the newest first; the first one runs."""
        ...

    async def end_season(self, board: str, name: str) -> None:
        """Give the running season a name, and begin a new one that is empty.

        Raises:
            Misuse: An earlier season has this name.
        """
        ...


class Board:
    """One board. `Keeper.board` makes it.

    Args:
        source: Where its ranks come from.
        name: Its name.
        season: The name of a season that has ended; empty for the one that runs.

    Attributes:
        name: Its name.
        covers: The records that it ranks, in one sentence: every record, or those that this server has seen.
    """

    def __init__(self, source: BoardSource, name: str, season: str = "") -> None:
        self._source = source
        self._season = season
        self.name = name
        self.covers = source.covers

    async def top(self, count: int = 10, *, after: int = 0) -> list[Standing]:
        """The best records, the best first.

        Args:
            count: How many, from 1 to 1,000.
            after: Begin behind this rank, for the next page.

        Raises:
            Misuse: A number is out of range; there is no such season.
            StorageError: The boards cannot be reached.
        """
        _check(count, 1, "count")
        _check(after, 0, "after", 10**9)
        return await self._source.top(self.name, self._season, count, after)

    async def around(self, id: int | str, count: int = 5) -> list[Standing]:  # noqa: A002 - the field's own name
        """A record with its neighbours, the best first; empty if the record is not on the board.

        Args:
            id: Its id.
            count: How many before it, and how many after it, from 1 to 500.

        Raises:
            Misuse, StorageError: As `top`.
        """
        _check(count, 1, "count", ENTRIES_MAX // 2)
        ids = _ids([id])
        return await self._source.around(self.name, self._season, ids[0], count) if ids else []

    async def among(self, ids: Sequence[int | str]) -> list[Standing]:
        """Those of some records that are on the board, friends for example: the best first, each with its place on the whole board.

        Args:
            ids: Their ids, at most 1,000.

        Raises:
            Misuse, StorageError: As `top`.
        """
        _check(len(ids), 0, "the number of ids")
        return await self._source.among(self.name, self._season, _ids(ids))

    async def standing(self, id: int | str) -> Standing | None:  # noqa: A002 - the field's own name
        """The place of one record; None if it is not on the board.

        Raises:
            Misuse, StorageError: As `top`.
        """
        found = await self.among([id])
        return found[0] if found else None

    async def seasons(self) -> list[Season]:
        """The seasons of this board, the newest first; the first one runs.

        Raises:
            StorageError: The boards cannot be reached.
        """
        return await self._source.seasons(self.name)

    async def end_season(self, name: str) -> None:
        """End the running season, which stays readable by its name, and begin one without entries.

        A record enters the new season when its ranked field changes. The board does not change the field: a game that counts
        anew sets it back itself.

        Args:
            name: The name of the season that ends, at most 64 characters; it is free.

        Raises:
            Misuse: The name is malformed or taken; or this is the board of a season that has ended.
            StorageError: The boards cannot be reached.
        """
        if self._season:
            raise Misuse(
                f"the season {self._season!r} has ended", hint=f'keeper.board("{self.name}") is the running one'
            )
        if not isinstance(name, str) or not 0 < len(name) <= SEASON_CHARS_MAX or not name.isprintable():  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
            raise Misuse(f"{name!r:.80} names no season", hint='such as "spring 2027", at most 64 characters')
        await self._source.end_season(self.name, name)


def open_board(source: BoardSource, name: str, season: str) -> Board:
    """The board `name`.

    Raises:
        Misuse: No field is ranked on it.
        DefinitionError: Two classes have fields that are.
    """
    if ranked_field(name) is None:
        raise Misuse(f"no field is ranked on the board {name!r}", hint=f'declare one: durable(ranked="{name}")')
    return Board(source, name, season)


def no_such_season(board: str, season: str) -> Misuse:
    """The error for a season that a board never had."""
    return Misuse(f"the board {board!r} has no season {season!r} that has ended", hint="`seasons()` lists them")


def season_taken(board: str, season: str) -> Misuse:
    """The error for the name of an earlier season."""
    return Misuse(f"the board {board!r} had a season {season!r} already", hint="choose another name")


def top_percent(rank: int, of: int) -> int:
    """The share of a rank in percent, rounded up."""
    return max(1, -(-100 * rank // max(of, rank)))


def _ids(given: Sequence[int | str]) -> list[str]:
    """Ids as text, without the malformed ones: a client may have sent them, and no record has one."""
    ids: list[str] = []
    for each in given:
        with suppress(InvalidKey):
            ids.append(check_id(each))
    return ids


def _check(number: int, least: int, name: str, most: int = ENTRIES_MAX) -> None:
    if type(number) is not int or not least <= number <= most:
        raise Misuse(f"{name} is {number!r:.80}", hint=f"pass a whole number from {least} to {most}")
