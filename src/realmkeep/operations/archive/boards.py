"""Boards from the cold tier: the scores that a cut takes along, and the answers to a game's questions."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from realmkeep import keys
from realmkeep.errors import InvalidKey, RealmkeepError
from realmkeep.keeping.boards.board import Season, Standing, no_such_season, season_taken, top_percent
from realmkeep.keeping.live.record_keys import limits_of
from realmkeep.records import load, registered
from realmkeep.records.storable import Int64
from realmkeep.storage.cold import ColdScore
from realmkeep.storage.cold.boards import PLACES_COUNTED_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from realmkeep.clock import Clock
    from realmkeep.config import RecordsConfig
    from realmkeep.records import FieldInfo, Record
    from realmkeep.storage.cold import BoardShape, ColdPlace, ColdRow, ColdStore

SHAPE_S: Final = 60.0  # for so long the distribution of a board's scores is used: half a second for a million


class _Ranked(NamedTuple):
    """A class with ranked fields, and a decoder of these fields alone: a tenth of the time of a whole record."""

    cls: type[Record]
    fields: tuple[FieldInfo, ...]
    decoder: msgspec.json.Decoder[Any]


def boards_of(record: str) -> list[str]:
    """The boards of the record with this key."""
    try:
        parsed = keys.parse(record)
    except InvalidKey:
        return []
    found = _ranked(parsed.kind, parsed.suffix)
    return [] if found is None else [field.ranked for field in found.fields if field.ranked]


class ScoreReader:
    """Finds the scores in rows.

    Args:
        records: The caps on a record.
    """

    def __init__(self, records: RecordsConfig) -> None:
        self._limits = limits_of(records)
        self._accept_unchecked = records.accept_unchecked
        self._classes: dict[tuple[str, str], _Ranked | None] = {}

    def scores(self, rows: Iterable[ColdRow]) -> list[ColdScore]:
        """The scores of these rows. One that cannot be read has none: the row itself is kept as it is."""
        return [score for row in rows for score in self._of(row)]

    def _of(self, row: ColdRow) -> list[ColdScore]:
        kind, id_, *rest = row.key.split(":")
        place = (kind, rest[0] if rest else "")
        if place not in self._classes:
            self._classes[place] = _ranked(*place)
        if (ranked := self._classes[place]) is None:
            return []
        if row.body is None:
            return [ColdScore(row.key, field.ranked or "", id_, None, row.revision) for field in ranked.fields]
        try:
            record = self._read(ranked, row.body, row.version)
        except (RealmkeepError, msgspec.MsgspecError):
            return []
        return [
            ColdScore(row.key, field.ranked or "", id_, getattr(record, field.name), row.revision)
            for field in ranked.fields
        ]

    def _read(self, ranked: _Ranked, body: bytes, version: int) -> Any:
        if body.startswith(b"{") and version == ranked.cls.__realmkeep__.version:
            return ranked.decoder.decode(body)
        return load(body, ranked.cls, limits=self._limits, accept_unchecked=self._accept_unchecked).require()


class ArchiveBoards:
    """Every record that the cold tier has, ranked as of its last cut.

    Args:
        cold: The cold tier.
        clock: The clock.

    Attributes:
        covers: The records that it ranks.
    """

    covers = f"every record, as the archive has it: a few seconds behind; places beyond {PLACES_COUNTED_MAX:,} in percent alone"

    def __init__(self, cold: ColdStore, clock: Clock) -> None:
        self._boards = cold.boards
        self._clock = clock
        self._shapes: dict[tuple[str, int], tuple[float, asyncio.Task[BoardShape]]] = {}

    async def top(self, board: str, season: str, count: int, after: int) -> list[Standing]:
        """As `BoardSource.top`.

        Raises:
            Misuse: There is no such season.
            StorageError: The archive cannot be reached.
        """
        number = await self._number(board, season)
        return await self._standings(board, number, await self._boards.places(board, number, after, count), exact=True)

    async def around(self, board: str, season: str, id: str, count: int) -> list[Standing]:  # noqa: A002
        """As `BoardSource.around`.

        Raises:
            Misuse, StorageError: As `top`.
        """
        number = await self._number(board, season)
        return await self._standings(board, number, await self._boards.places_around(board, number, id, count))

    async def among(self, board: str, season: str, ids: Sequence[str]) -> list[Standing]:
        """As `BoardSource.among`.

        Raises:
            Misuse, StorageError: As `top`.
        """
        number = await self._number(board, season)
        return await self._standings(board, number, await self._boards.places_of(board, number, ids))

    async def seasons(self, board: str) -> list[Season]:
        """As `BoardSource.seasons`.

        Raises:
            StorageError: The archive cannot be reached.
        """
        found = await self._boards.seasons(board)
        return [Season(each.name, each.began_us, each.ended_us) for each in found] or [Season("", None, None)]

    async def end_season(self, board: str, name: str) -> None:
        """As `BoardSource.end_season`. A score that no cut has shipped yet counts in the next season.

        Raises:
            Misuse: An earlier season has this name.
            StorageError: The archive cannot be reached; the season may have ended.
        """
        if not await self._boards.end_season(board, name, self._clock.wall_us()):
            raise season_taken(board, name)

    async def _number(self, board: str, season: str) -> int:
        found = await self._boards.seasons(board)
        if not season:
            return found[0].number if found else 1
        number = next((each.number for each in found if each.name == season), None)
        if number is None:
            raise no_such_season(board, season)
        return number

    async def _standings(
        self, board: str, number: int, places: Sequence[ColdPlace], *, exact: bool = False
    ) -> list[Standing]:
        if not places:
            return []
        shape = await self._shape(board, number)
        below = [-score for score in shape.percentiles]
        standings: list[Standing] = []
        for place in places:
            if exact or place.better < PLACES_COUNTED_MAX:
                rank, percent = place.better + 1, top_percent(place.better + 1, shape.places)
            else:
                better = bisect_right(below, -place.score)
                rank, percent = None, better if -place.score in below[better - 1 : better] else min(better + 1, 100)
            standings.append(Standing(place.id, place.score, rank, percent, place.reached_us))
        return standings

    async def _shape(self, board: str, number: int) -> BoardShape:
        """The distribution of a season. However many players ask at once, the database is asked once."""
        known, now_s = self._shapes.get((board, number)), self._clock.monotonic_s()
        if known is None or now_s - known[0] > SHAPE_S or _has_failed(known[1]):
            known = self._shapes[board, number] = (now_s, asyncio.create_task(self._boards.shape(board, number)))
        return await asyncio.shield(known[1])


def _has_failed(asked: asyncio.Task[BoardShape]) -> bool:
    return asked.done() and (asked.cancelled() or asked.exception() is not None)


def _ranked(kind: str, suffix: str) -> _Ranked | None:
    for cls in registered():
        info = cls.__realmkeep__
        if (info.kind, info.suffix) == (kind, suffix):
            fields = tuple(field for field in info.durable if field.ranked)
            if fields:
                shape = msgspec.defstruct("Scores", [(field.name, Int64) for field in fields])
                return _Ranked(cls, fields, msgspec.json.Decoder(shape))
    return None
