"""Boards in PostgreSQL: one index has the places of every season in order."""

from __future__ import annotations

from itertools import count as counting
from typing import TYPE_CHECKING

from realmkeep.storage.cold.boards import PLACES_COUNTED_MAX, BoardShape, ColdPlace, ColdSeason
from realmkeep.storage.postgres.arrays import bigints, texts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from realmkeep.storage.cold.boards import ColdScore
    from realmkeep.storage.postgres.connection import PostgresConnection, Row

    Ask = Callable[..., Awaitable[list[Row]]]
    Change = Callable[[Callable[[PostgresConnection], Awaitable[bool]]], Awaitable[bool]]


class PostgresColdBoards:
    """A `ColdBoards` in a database.

    Args:
        ask: Executes a statement that only reads.
        change: Executes statements in a transaction.
    """

    def __init__(self, ask: Ask, change: Change) -> None:
        self._ask = ask
        self._change = change

    async def seasons(self, board: str) -> list[ColdSeason]:
        """As `ColdBoards.seasons`."""
        return [ColdSeason(*row) for row in await self._ask("cold_seasons", board)]

    async def end_season(self, board: str, name: str, now_us: int) -> bool:
        """As `ColdBoards.end_season`."""

        async def end(connection: PostgresConnection) -> bool:
            await connection.ask("cold_first_season", board)
            if any(season == name for _, season, _, _ in await connection.ask("cold_seasons", board)):
                return False
            ((ended,),) = await connection.ask("cold_end_season", name, now_us, board)
            await connection.ask("cold_next_season", board, ended + 1, now_us)
            return True

        return await self._change(end)

    async def places(self, board: str, season: int, after: int, count: int) -> list[ColdPlace]:
        """As `ColdBoards.places`."""
        return _numbered(await self._ask("cold_places", board, season, count, after), after)

    async def places_around(self, board: str, season: int, id: str, count: int) -> list[ColdPlace]:  # noqa: A002
        """As `ColdBoards.places_around`."""
        found = await self._ask("cold_place", board, season, texts([id]))
        if not found:
            return []
        number, below, reached_us = found[0]
        own = (board, season, below, reached_us, number)
        before = await self._ask("cold_places_before", *own, count)
        behind = await self._ask("cold_places_after", *own, count)
        first = max(await self._better(*own) - len(before), 0)
        return _numbered([*before[::-1], *found, *behind], first)

    async def places_of(self, board: str, season: int, ids: Sequence[str]) -> list[ColdPlace]:
        """As `ColdBoards.places_of`."""
        rows = await self._ask("cold_places_of", PLACES_COUNTED_MAX, board, season, texts(ids))
        return [ColdPlace(id_, ~below, reached_us, better) for id_, below, reached_us, better in rows]

    async def shape(self, board: str, season: int) -> BoardShape:
        """As `ColdBoards.shape`."""
        ((places, percentiles),) = await self._ask("cold_shape", board, season)
        return BoardShape(places, tuple(~below for below in percentiles or ()))

    async def _better(self, board: str, season: int, below: int, reached_us: int, id: str) -> int:  # noqa: A002
        ((better,),) = await self._ask("cold_better", board, season, below, reached_us, id, PLACES_COUNTED_MAX)
        return better


async def write_scores(connection: PostgresConnection, scores: Iterable[ColdScore]) -> None:
    """Write scores, inside a transaction.

    Raises:
        psycopg.Error: The server refused it, or the connection ended.
    """
    newest = {(each.board, each.id): each for each in scores}
    ranked = [(each.board, each.id, ~each.score, each.reached_us) for each in newest.values() if each.score is not None]
    gone = [place for place, each in newest.items() if each.score is None]
    if gone:
        await connection.ask("cold_unrank", *map(texts, zip(*gone, strict=True)))
    if ranked:
        boards, ids, below, reached_us = zip(*sorted(ranked), strict=True)
        await connection.ask("cold_scores", texts(boards), texts(ids), bigints(below), bigints(reached_us))


def _numbered(rows: Iterable[Row], first: int) -> list[ColdPlace]:
    return [
        ColdPlace(id_, ~below, reached_us, better)
        for (id_, below, reached_us), better in zip(rows, counting(first), strict=False)
    ]
