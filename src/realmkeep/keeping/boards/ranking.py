"""Scores in order: equal ones by the time at which they were reached."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from bisect import bisect_left
from typing import TYPE_CHECKING, Final, NamedTuple

from realmkeep.keeping.boards.board import Standing, top_percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep.clock import Clock

SLICE: Final = 1000  # entries that are sorted or merged in one turn of the event loop: about 0.5 ms


class Entry(NamedTuple):
    """A place in the order: entries are compared as they are."""

    below: int  # the score, negative
    reached_us: int
    id: str


class Ranking:
    """The scores of some records. They are put in order for a question.

    Args:
        entries_max: The most records; of more, the lowest are left out.

    Attributes:
        is_cut: Records were left out.
    """

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._entries: dict[str, Entry] = {}
        self._order: list[Entry] = []
        self._ordered: dict[str, Entry] = {}  # as they stand in the order
        self._changes = 0
        self._changes_in_order = 0  # those that the order has; the others stay if a sort is cancelled
        self.is_cut = False

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def is_overfull(self) -> bool:
        """It is time to put it in order, also without a question: that leaves the lowest out."""
        return len(self._entries) > 2 * self._entries_max

    def put(self, id: str, score: int, now_us: int) -> None:  # noqa: A002 - the field's own name
        """Note a score; the time counts if it is another one than before."""
        known = self._entries.get(id)
        if known is None or known.below != -score:
            if known is None and self.is_cut and self._order and -score >= self._order[-1].below:
                return  # below all that are kept
            self._entries[id] = Entry(-score, now_us, id)
            self._changes += 1

    def scores(self) -> dict[str, int]:
        """The scores, by id."""
        return {id: -entry.below for id, entry in self._entries.items()}  # noqa: A001

    async def put_in_order(self, clock: Clock) -> None:
        """Sort, in slices. Scores that are noted meanwhile count from the next time on."""
        changes = self._changes
        if changes == self._changes_in_order:
            return
        entries = list(self._entries.values())
        runs: list[list[Entry]] = []
        for start in range(0, len(entries), SLICE):
            runs.append(sorted(entries[start : start + SLICE]))
            await clock.sleep(0)
        order: list[Entry] = []
        for entry in heapq.merge(*runs):
            order.append(entry)
            if len(order) % SLICE == 0:
                await clock.sleep(0)
        if len(order) > self._entries_max:
            self.is_cut = True
            for entry in order[self._entries_max :]:
                if self._entries.get(entry.id) == entry:
                    del self._entries[entry.id]
            del order[self._entries_max :]
        self._order, self._ordered = order, {entry.id: entry for entry in order}
        self._changes_in_order = changes

    def page(self, start: int, stop: int) -> list[Standing]:
        """The places from `start` to before `stop`, from 0."""
        order, first = self._order, max(start, 0)
        return [
            Standing(each.id, -each.below, rank, top_percent(rank, len(order)), each.reached_us)
            for rank, each in enumerate(order[first : max(stop, 0)], first + 1)
        ]

    def around(self, id: str, count: int) -> list[Standing]:  # noqa: A002 - the field's own name
        """A record with up to `count` before and after it; empty if it is not on the board."""
        place = self._place(id)
        return [] if place is None else self.page(place - count, place + count + 1)

    def among(self, ids: Sequence[str]) -> list[Standing]:
        """Those of some records that are on the board, the best first."""
        places = sorted({place for id in ids if (place := self._place(id)) is not None})  # noqa: A001
        return [standing for place in places for standing in self.page(place, place + 1)]

    def _place(self, id: str) -> int | None:  # noqa: A002
        entry = self._ordered.get(id)
        return None if entry is None else bisect_left(self._order, entry)


class RankedBoards(ABC):
    """Answers the questions of a `BoardSource` from rankings."""

    @abstractmethod
    async def _ranking(self, board: str, season: str) -> Ranking:
        """The ranking of a season, in order."""

    async def top(self, board: str, season: str, count: int, after: int) -> list[Standing]:
        """As `BoardSource.top`.

        Raises:
            Misuse: There is no such season.
            StorageError: The records are read from a store, and it cannot be reached.
        """
        return (await self._ranking(board, season)).page(after, after + count)

    async def around(self, board: str, season: str, id: str, count: int) -> list[Standing]:  # noqa: A002
        """As `BoardSource.around`.

        Raises:
            Misuse, StorageError: As `top`.
        """
        return (await self._ranking(board, season)).around(id, count)

    async def among(self, board: str, season: str, ids: Sequence[str]) -> list[Standing]:
        """As `BoardSource.among`.

        Raises:
            Misuse, StorageError: As `top`.
        """
        return (await self._ranking(board, season)).among(ids)
