"""The boards of one server, in its memory: of the records that were live here. They take nothing from the store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from realmkeep.keeping.boards.board import Season, no_such_season, season_taken
from realmkeep.keeping.boards.ranking import RankedBoards, Ranking

if TYPE_CHECKING:
    from realmkeep.clock import Clock
    from realmkeep.keeping.live.registry import SessionRegistry
    from realmkeep.records import Record

LOOK_S: Final = 5.0
LOOK_SLICE: Final = 500  # sessions that are looked at in one turn of the event loop
RECORDS_MAX: Final = 100_000  # on one board
SEASONS_MAX: Final = 8  # ended ones that are kept


class MemoryBoards(RankedBoards):
    """Boards of the live records of this server, and of those that were live since the first question.

    From then on it looks at each live record every five seconds. A server that ends forgets the boards.

    Args:
        sessions: The live sessions.
        clock: The clock.

    Attributes:
        covers: The records that it ranks.
    """

    covers = f"the records that were live on this server since it was asked first, the best {RECORDS_MAX:,} of them"

    def __init__(self, sessions: SessionRegistry, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self._began_us = clock.wall_us()
        self._boards: dict[str, _Seasons] = {}
        self._ranked: dict[type[Record], tuple[tuple[str, str], ...]] = {}
        self._sorting = asyncio.Lock()

    async def keep_looking(self) -> None:
        """Note the scores of the live records, for ever."""
        while True:
            await self.look()
            await self._clock.sleep(LOOK_S)

    async def look(self) -> None:
        """Note the scores of the live records, in slices."""
        now_us = self._clock.wall_us()
        for position, session in enumerate(list(self._sessions.live()), 1):
            for board, name in self._boards_of(session.cls):
                self._seasons_of(board).put(session.id, getattr(session.record, name), now_us)
            if position % LOOK_SLICE == 0:
                await self._clock.sleep(0)
        for board, seasons in [*self._boards.items()]:
            if seasons.ranking("").is_overfull:
                await self._ranking(board, "")

    async def seasons(self, board: str) -> list[Season]:
        """As `BoardSource.seasons`."""
        return self._seasons_of(board).listed()

    async def end_season(self, board: str, name: str) -> None:
        """As `BoardSource.end_season`.

        Raises:
            Misuse: An earlier season has this name.
        """
        await self.look()
        self._seasons_of(board).end(name, self._clock.wall_us())

    async def _ranking(self, board: str, season: str) -> Ranking:
        ranking = self._seasons_of(board).ranking(season)
        async with self._sorting:
            await ranking.put_in_order(self._clock)
        return ranking

    def _seasons_of(self, board: str) -> _Seasons:
        if (found := self._boards.get(board)) is None:
            found = self._boards[board] = _Seasons(board, self._began_us)
        return found

    def _boards_of(self, cls: type[Record]) -> tuple[tuple[str, str], ...]:
        if (found := self._ranked.get(cls)) is None:
            fields = cls.__realmkeep__.durable
            found = self._ranked[cls] = tuple((field.ranked, field.name) for field in fields if field.ranked)
        return found


class _Seasons:
    """The running season of one board, and the last that ended."""

    def __init__(self, board: str, began_us: int) -> None:
        self._board = board
        self._began_us = began_us
        self._running = Ranking(RECORDS_MAX)
        self._before: dict[str, int] = {}  # the scores of ended seasons: a record enters this one with another score
        self._ended: dict[str, tuple[Season, Ranking]] = {}

    def put(self, id: str, score: int, now_us: int) -> None:  # noqa: A002
        if self._before:
            if self._before.get(id) == score:
                return
            self._before.pop(id, None)
        self._running.put(id, score, now_us)

    def ranking(self, season: str) -> Ranking:
        """The scores of a season.

        Raises:
            Misuse: There is no such season.
        """
        if not season:
            return self._running
        if season not in self._ended:
            raise no_such_season(self._board, season)
        return self._ended[season][1]

    def listed(self) -> list[Season]:
        return [Season("", self._began_us, None), *(season for season, _ in reversed(self._ended.values()))]

    def end(self, name: str, now_us: int) -> None:
        """End the running season.

        Raises:
            Misuse: An earlier season has this name.
        """
        if name in self._ended:
            raise season_taken(self._board, name)
        self._ended[name] = (Season(name, self._began_us, now_us), self._running)
        if len(self._ended) > SEASONS_MAX:
            del self._ended[next(iter(self._ended))]
        self._before = dict([*(self._before | self._running.scores()).items()][-RECORDS_MAX:])
        self._running, self._began_us = Ranking(RECORDS_MAX), now_us
