"""A cold store in the memory of one process, for tests and for the laboratory."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from realmkeep.errors import StorageUnavailable
from realmkeep.storage.cold.boards import BoardShape, ColdPlace, ColdScore, ColdSeason
from realmkeep.storage.cold.protocol import ColdBatch, ColdHead, ColdLetter, ColdRow, ColdWritten

PAGE_ROWS: Final = 500


class MemoryColdStore:
    """A `ColdStore` in memory; it survives `disconnect`, and dies with its process.

    Attributes:
        boards: The boards.
        is_down: It answers every call with `StorageUnavailable`, for tests of an outage.
        is_silent: It answers no read.
    """

    def __init__(self) -> None:
        self._rows: dict[str, ColdRow] = {}
        self._letters: dict[str, tuple[int, ColdLetter | None]] = {}
        self._marks: dict[str, int] = {}
        self._erased: dict[str, int] = {}
        self._places = 0
        self.boards = MemoryColdBoards(self._check)
        self.is_down = self.is_silent = False

    def __repr__(self) -> str:
        return f"<MemoryColdStore of {len(self._rows)} rows>"

    async def connect(self) -> None:
        """As `ColdStore.connect`."""
        self._check()

    async def disconnect(self) -> None:
        """As `ColdStore.disconnect`."""

    async def write(self, batch: ColdBatch) -> ColdWritten:
        """As `ColdStore.write`."""
        self._check()
        raised: set[str] = set()
        for row in batch.rows:
            known = self._rows.get(row.key)
            is_newer = known is None or known.revision < row.revision
            repairs = (
                batch.repairs and known is not None and known.revision == row.revision and known.digest != row.digest
            )
            if is_newer or repairs:
                self._rows[row.key] = row
                raised.add(row.key)
        for letter in batch.letters:
            self._places += 1
            self._letters.setdefault(letter.id, (self._places, letter))
        for id_ in batch.opened:
            self._letters[id_] = (0, None)
        for name, value in batch.marks.items():
            self._marks[name] = max(value, self._marks.get(name, value))
        self.boards.write([score for score in batch.scores if score.key in raised])
        return ColdWritten(len(raised))

    async def rows(self, keys: Sequence[str]) -> list[ColdRow | None]:
        """As `ColdStore.rows`."""
        self._check()
        if self.is_silent:
            await asyncio.get_running_loop().create_future()
        return [self._rows.get(key) for key in keys]

    async def heads(self, keys: Sequence[str]) -> list[ColdHead | None]:
        """As `ColdStore.heads`."""
        return [None if row is None else _head(row) for row in await self.rows(keys)]

    async def all_heads(self) -> AsyncIterator[list[ColdHead]]:
        """As `ColdStore.all_heads`."""
        self._check()
        found = [_head(row) for _, row in sorted(self._rows.items())]
        for start in range(0, len(found), PAGE_ROWS):
            yield found[start : start + PAGE_ROWS]

    async def unopened(self, after: int, count: int) -> list[tuple[int, ColdLetter]]:
        """As `ColdStore.unopened`."""
        self._check()
        found = [(place, letter) for place, letter in self._letters.values() if letter is not None and place > after]
        return sorted(found, key=lambda pair: pair[0])[:count]

    async def marks(self) -> dict[str, int]:
        """As `ColdStore.marks`."""
        self._check()
        return dict(self._marks)

    async def erase(self, key: str, revision: int, boards: Sequence[str] = ()) -> None:
        """As `ColdStore.erase`."""
        self._check()
        known = self._rows.get(key)
        at = revision if known is None else max(revision, known.revision)
        self._rows[key] = ColdRow(key, at, 0, None)
        self._letters = {
            id_: (place, None if letter is not None and letter.receiver == key else letter)
            for id_, (place, letter) in self._letters.items()
        }
        self._erased[key] = at
        id_ = key.split(":")[1]
        self.boards.write([ColdScore(key, board, id_, None, 0) for board in boards])

    async def tidy(self) -> None:
        """As `ColdStore.tidy`; the memory of a test is short."""
        self._check()

    def _check(self) -> None:
        if self.is_down:
            raise StorageUnavailable("the cold store is down", hint="try again")


class MemoryColdBoards:
    """A `ColdBoards` in memory.

    Args:
        check: Raises `StorageUnavailable` while the store is down.
    """

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._seasons: defaultdict[str, list[ColdSeason]] = defaultdict(list)
        self._entries: defaultdict[tuple[str, int], dict[str, tuple[int, int]]] = defaultdict(dict)

    def write(self, scores: Sequence[ColdScore]) -> None:
        """Write the scores of a batch."""
        for each in scores:
            seasons = [self._entries[each.board, number] for number in range(self._running(each.board), 0, -1)]
            if each.score is None:
                for entries in seasons:
                    entries.pop(each.id, None)
            elif next((entries[each.id][0] for entries in seasons if each.id in entries), None) != each.score:
                seasons[0][each.id] = (each.score, each.reached_us)

    async def seasons(self, board: str) -> list[ColdSeason]:
        """As `ColdBoards.seasons`."""
        self._check()
        return self._seasons[board][::-1]

    async def end_season(self, board: str, name: str, now_us: int) -> bool:
        """As `ColdBoards.end_season`."""
        self._check()
        seasons = self._seasons[board]
        if any(season.name == name for season in seasons):
            return False
        running = seasons.pop() if seasons else ColdSeason(1, "", None, None)
        seasons += [
            ColdSeason(running.number, name, running.began_us, now_us),
            ColdSeason(running.number + 1, "", now_us, None),
        ]
        return True

    async def places(self, board: str, season: int, after: int, count: int) -> list[ColdPlace]:
        """As `ColdBoards.places`."""
        return self._ordered(board, season)[after : after + count]

    async def places_around(self, board: str, season: int, id: str, count: int) -> list[ColdPlace]:  # noqa: A002
        """As `ColdBoards.places_around`."""
        ordered = self._ordered(board, season)
        at = next((place.better for place in ordered if place.id == id), None)
        return [] if at is None else ordered[max(at - count, 0) : at + count + 1]

    async def places_of(self, board: str, season: int, ids: Sequence[str]) -> list[ColdPlace]:
        """As `ColdBoards.places_of`."""
        return [place for place in self._ordered(board, season) if place.id in ids]

    async def shape(self, board: str, season: int) -> BoardShape:
        """As `ColdBoards.shape`."""
        ordered = self._ordered(board, season)
        last = len(ordered) - 1
        shares = [max(-(-percent * len(ordered) // 100) - 1, 0) for percent in range(1, 101)]
        return BoardShape(len(ordered), tuple(ordered[min(at, last)].score for at in shares) if ordered else ())

    def _running(self, board: str) -> int:
        return self._seasons[board][-1].number if self._seasons[board] else 1

    def _ordered(self, board: str, season: int) -> list[ColdPlace]:
        self._check()
        entries = sorted((~score, reached_us, id_) for id_, (score, reached_us) in self._entries[board, season].items())
        return [ColdPlace(id_, ~below, reached_us, better) for better, (below, reached_us, id_) in enumerate(entries)]


def _head(row: ColdRow) -> ColdHead:
    return ColdHead(row.key, row.revision, row.digest)
