"""Boards in a cold store: the scores of records, in order, season by season."""

from collections.abc import Sequence
from typing import Final, Protocol

import msgspec

PLACES_COUNTED_MAX: Final = 100_000  # before a place; that many are counted in about 15 ms


class ColdScore(msgspec.Struct, frozen=True, gc=False):
    """The score of a record on a board, as its row in the same batch has it.

    Attributes:
        key: The key of the record.
        board: The board.
        id: The record's id.
        score: The score; None takes the record off the board.
        reached_us: When it was reached, in microseconds since the epoch.
    """

    key: str
    board: str
    id: str
    score: int | None
    reached_us: int


class ColdPlace(msgspec.Struct, frozen=True, gc=False):
    """A place on a board.

    Attributes:
        id: The record's id.
        score: Its score.
        reached_us: When it was reached, in microseconds since the epoch.
        better: How many places are before it, counted up to `PLACES_COUNTED_MAX`.
    """

    id: str
    score: int
    reached_us: int
    better: int


class ColdSeason(msgspec.Struct, frozen=True, gc=False):
    """A season of a board.

    Attributes:
        number: Its number, from 1.
        name: Its name; empty while it runs.
        began_us: Its begin, in microseconds since the epoch; None for the first one.
        ended_us: Its end; None while it runs.
    """

    number: int
    name: str
    began_us: int | None
    ended_us: int | None


class BoardShape(msgspec.Struct, frozen=True):
    """The distribution of a board's scores.

    Attributes:
        places: How many records are on it.
        percentiles: The scores at 1 to 100 percent of the places, from the best; empty if there is none.
    """

    places: int
    percentiles: tuple[int, ...]


class ColdBoards(Protocol):
    """The boards of a cold store. Their scores come with its batches."""

    async def seasons(self, board: str) -> list[ColdSeason]:
        """The seasons of a board, the newest first; empty before the first one has ended.

        Raises:
            StorageError: The store cannot be reached.
        """
        ...

    async def end_season(self, board: str, name: str, now_us: int) -> bool:
        """Name the running season, and begin the next one; False if an earlier one has this name, and nothing was changed.

        Raises:
            StorageError: The store cannot be reached; the season may have ended.
        """
        ...

    async def places(self, board: str, season: int, after: int, count: int) -> list[ColdPlace]:
        """The places of a season after the first `after`, the best first.

        Raises:
            StorageError: The store cannot be reached.
        """
        ...

    async def places_around(self, board: str, season: int, id: str, count: int) -> list[ColdPlace]:  # noqa: A002
        """The place of a record with up to `count` before and after it; empty if it is not on the board.

        Raises:
            StorageError: The store cannot be reached.
        """
        ...

    async def places_of(self, board: str, season: int, ids: Sequence[str]) -> list[ColdPlace]:
        """The places of those of some records that are on the board, the best first.

        Raises:
            StorageError: The store cannot be reached.
        """
        ...

    async def shape(self, board: str, season: int) -> BoardShape:
        """The distribution of the scores of a season: of a million, in half a second.

        Raises:
            StorageError: The store cannot be reached.
        """
        ...
