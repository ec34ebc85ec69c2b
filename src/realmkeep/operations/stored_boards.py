"""Boards from the records of a store, which are read once; servers may use it meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from realmkeep.errors import Misuse
from realmkeep.keeping.boards.board import Season, no_such_season
from realmkeep.keeping.boards.ranking import RankedBoards, Ranking
from realmkeep.keeping.scan import scan
from realmkeep.records import load, ranked_field

if TYPE_CHECKING:
    from realmkeep.clock import Clock
    from realmkeep.keys import RecordKeys
    from realmkeep.operations.backup.game import Game
    from realmkeep.records import Record
    from realmkeep.storage import Storage

RECORDS_MAX: Final = 1_000_000  # on one board: about 250 MiB


class StoredBoards(RankedBoards):
    """Ranks the records of a store as they are stored. It knows no times, so equal scores are in the order of their ids.

    Args:
        storage: Connected.
        game: The loading path.
        clock: The clock.

    Attributes:
        covers: The records that it ranks.
        unreadable: The number of records that were left out because they cannot be read.
    """

    covers = f"every record of the store, the best {RECORDS_MAX:,} of them, with the values that are stored"

    def __init__(self, storage: Storage, game: Game, clock: Clock) -> None:
        self._storage = storage
        self._game = game
        self._clock = clock
        self._read: dict[str, Ranking] = {}
        self.unreadable = 0

    async def seasons(self, board: str) -> list[Season]:
        """As `BoardSource.seasons`: a store knows the running one alone."""
        del board
        return [Season("", None, None)]

    async def end_season(self, board: str, name: str) -> None:
        """Refuse: a store has no seasons.

        Raises:
            Misuse: Always.
        """
        raise Misuse(
            f"the season of {board!r} cannot be ended as {name!r}: this realm has no archive, and its store has no seasons",
            hint="set archive.url; without one a game ends a season of its own server with keeper.board(name).end_season",
        )

    async def _ranking(self, board: str, season: str) -> Ranking:
        if season:
            raise no_such_season(board, season)
        if board not in self._read:
            self._read[board] = await self._ranked(board)
        return self._read[board]

    async def _ranked(self, board: str) -> Ranking:
        ranking, found = Ranking(RECORDS_MAX), ranked_field(board)
        assert found is not None, "a Board exists for ranked fields alone"
        cls: type[Record] = found[0]
        game, name = self._game, found[1].name

        def read(_keys: RecordKeys, stored: bytes | None) -> Record | None:
            if stored is None:
                return None
            return load(stored, cls, limits=game.limits, accept_unchecked=game.accept_unchecked).require()

        async for scanned in scan(cls, self._storage, read):
            if scanned.record is None:
                self.unreadable += 1
            else:
                ranking.put(scanned.id, getattr(scanned.record, name), 0)
            if ranking.is_overfull:
                await ranking.put_in_order(self._clock)
        await ranking.put_in_order(self._clock)
        return ranking
