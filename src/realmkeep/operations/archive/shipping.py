"""The cut of one server: its acknowledged changes, all of one moment, in one transaction of the cold tier.

A cut is held back until the cold tier has every state of other servers on which it was built. Otherwise a trade could be there
in half: a server dies with a trade that it has not shipped, another one claims one of the two players, and ships that half.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from realmkeep.errors import RealmkeepError, StorageError
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.ownership.id_counter import count_in
from realmkeep.keeping.writing.change_feed import Change
from realmkeep.keys import SERVER_ID_COUNTER
from realmkeep.operations.archive.boards import ScoreReader
from realmkeep.operations.archive.marks import CUT
from realmkeep.operations.archive.reading import PAGE_RECORDS, read_records, record_keys_of
from realmkeep.storage.cold import ColdBatch

if TYPE_CHECKING:
    from realmkeep.keeping import Keeper
    from realmkeep.keeping.writing.change_feed import ChangeFeed, Cut
    from realmkeep.storage.cold import ColdRow, ColdScore, ColdStore

log = logging.getLogger("realmkeep.operations.archive")

SLICE_ROWS: Final = 25  # rows made in one go: half a millisecond of the event loop
HEADS_AT_ONCE: Final = 1000
BEHIND: Final = "the archive is behind: "


def feed_of(keeper: Keeper) -> ChangeFeed:
    """The change feed of a keeper that was opened with a cold tier."""
    feed = engine_of(keeper).changes
    assert feed is not None, "Keeper.open(cold=...) comes first"
    return feed


class Shipper:
    """Ships the cuts of one keeper.

    Args:
        keeper: The keeper; it was opened with the same cold tier.
        cold: The cold tier.

    Attributes:
        rows: The number of rows that it raised.
        held_since_s: Since when a cut is held back, on the monotonic clock; None if none is.
        unreadable: The number of rows that have no copy for queries.
    """

    def __init__(self, keeper: Keeper, cold: ColdStore) -> None:
        engine = engine_of(keeper)
        self._name = keeper.name
        self._storage = engine.storage
        self._clock = engine.clock
        self._queue = engine.queue
        self._feed = feed_of(keeper)
        self._cold = cold
        self._turn = asyncio.Lock()
        self._scores = ScoreReader(engine.records)
        self._read: tuple[int, dict[str, Change]] | None = None
        self.rows = self.unreadable = 0
        self.held_since_s: float | None = None

    async def ship_if_possible(self, *, is_last: bool = False) -> bool:
        """Ship the cut; a failure is in the feed's `trouble`. True if the cold tier has it."""
        feed, before = self._feed, self._feed.trouble
        try:
            shipped = await self.ship(is_last=is_last)
        except StorageError as error:
            feed.trouble = f"{BEHIND}{error.message}"
        except RealmkeepError as error:
            feed.trouble = f"{BEHIND}{error.message}"
            log.exception("the archive refuses a cut")
        else:
            feed.trouble = ""
            if before:
                log.info("the archive is reached again")
            return shipped
        if feed.trouble != before:
            log.error("%s; play goes on, and it is tried again", feed.trouble)
        return False

    async def ship(self, *, is_last: bool = False) -> bool:
        """Ship the cut of this moment; False if it is held back, or waits for bytes.

        Args:
            is_last: The keeper is closed: everything that it has acknowledged is flushed, and in the cut.

        Raises:
            StorageError: A store cannot be reached; the next cut has all of it.
        """
        async with self._turn:
            flushed_s: float | None = None
            if is_last:
                flushed_s = self._clock.monotonic_s()
                await self._storage.flush()
            self._feed.keeps_bytes = self._read is not None
            grow = is_last or bool(self._feed.trouble) or self._read is not None
            cut = self._feed.take(grow=grow, flushed_s=flushed_s)
            if not await self._has_all_bytes(cut):
                return False
            changes = [*cut.changes.values()]  # the feed may drop their bytes while this waits
            if cut.needs and not await self._is_founded(cut):
                if self.held_since_s is None:
                    self.held_since_s = self._clock.monotonic_s()
                return False
            self.held_since_s = None
            rows: list[ColdRow] = []
            scores: list[ColdScore] = []
            for change in changes:
                rows.append(change.row())
                scores += self._scores.scores(rows[-1:])
                if len(rows) % SLICE_ROWS == 0:
                    await self._clock.sleep(0)
            marks = {f"{CUT}{self._name}": self._clock.wall_us(), **await self._ids()}
            written = await self._cold.write(ColdBatch(rows, tuple(cut.letters), tuple(cut.opened), marks, scores))
            self.rows += written.rows
            self.unreadable += len(written.unreadable)
            self._feed.shipped()
            return True

    async def _ids(self) -> dict[str, int]:
        """The mark of the ids that were given out: a rebuilt store begins beyond it."""
        counted = count_in(await self._storage.load(SERVER_ID_COUNTER))
        return {} if counted is None else {"ids": counted}

    async def _is_founded(self, cut: Cut) -> bool:
        """Whether the cold tier has every state on which the cut was built."""
        wanted = list(cut.needs)
        had: list[str] = []
        for start in range(0, len(wanted), HEADS_AT_ONCE):
            some = wanted[start : start + HEADS_AT_ONCE]
            heads = await self._cold.heads(some)
            had += [
                key
                for key, head in zip(some, heads, strict=True)
                if head is not None and head.revision >= cut.needs[key]
            ]
        cut.satisfied(had)
        return not cut.needs

    async def _has_all_bytes(self, cut: Cut) -> bool:
        """Read the bytes that had been dropped, while play goes on; the cut waits until it is as new as they are.

        Source: the fuzzy checkpoint of ARIES: a slow copy, and then all that has changed meanwhile.
        """
        if self._read is not None:
            until, read = self._read
            if cut.order < until:
                return False
            self._read = None
            self._feed.known(read)
        if not (unknown := cut.unknown):
            return True
        await self._cold.marks()  # while the cold tier is away, the hot store is not read for it
        self._feed.keeps_bytes = True
        read = {}
        wanted = [keys for change in unknown if (keys := record_keys_of(change.key)) is not None]
        for start in range(0, len(wanted), PAGE_RECORDS):
            for each in await read_records(self._storage, wanted[start : start + PAGE_RECORDS]):
                if each.record is not None and each.stub is None:
                    row = each.row()
                    read[row.key] = Change(row.key, each.keys.ops, row.revision, row.version, row.body, None, row.ops)
        self._read = (self._queue.order, read)
        return False
