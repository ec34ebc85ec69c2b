"""Moves the journal of a running server from its store into an archive, each entry exactly once.

One round: read the first entries of the list; wait until no crash of the store can take them; put a segment with its manifest into
the archive; then, in one transaction, drop the entries and set the mark of that segment, if the mark is still that of the segment
before. After a crash anywhere the mark tells which segments the list has not been cleared of; entries of those are known by their
numbers, and dropped without a second segment.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final

from realmkeep import keys
from realmkeep.errors import Corrupt, FileRefused, JournalError, StorageError
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.writing.journal_entries import decode_entry
from realmkeep.operations.journal.person_keys import PersonKeys
from realmkeep.operations.journal.sealing import TakenOut
from realmkeep.operations.journal.segments import make_segment, number_of, read_segment
from realmkeep.storage import Committed, DropFirst, Guard, Put, Transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep import Record
    from realmkeep.keeping import Keeper
    from realmkeep.operations.journal.archive import Archive
    from realmkeep.operations.journal.segments import Manifest

log = logging.getLogger("realmkeep.operations.journal")

TAKE_ENTRIES: Final = 250  # read at once
TAKE_BYTES: Final = 1024 * 1024  # of entries in a segment: packing them takes about 5 ms
RETENTION_S: Final = 3600.0
DAY_US: Final = 24 * 3600 * 1_000_000
CANNOT: Final = "the journal cannot be archived: "


class Archiver:
    """Archives the journal of one keeper.

    Args:
        keeper: The keeper; it was opened with a journal.
        archive: The archive.
        interval_s: Seconds between two looks for entries.
        keep_days: Days for which segments are kept; 0: for ever.
        players: The class of the game's players: the content of their records is sealed, each person's under a key of its
            own. None: nothing is sealed, and no erasure reaches the archive.

    Attributes:
        trouble: Why the last attempt failed; empty if it did not.
        segments: The number of segments written since the start.
        entries: The number of entries in them.
    """

    def __init__(
        self,
        keeper: Keeper,
        archive: Archive,
        *,
        interval_s: float,
        keep_days: int,
        players: type[Record] | None = None,
    ) -> None:
        engine = engine_of(keeper)
        self._storage = engine.storage
        self._journal = engine.journal
        self._clock = engine.clock
        self._archive = archive
        self._kind = "" if players is None else players.__realmkeep__.kind
        self._keys = PersonKeys(archive)
        self._server = keeper.name
        self._mark_key = keys.server_journaled(keeper.name)
        self._interval_s = interval_s
        self._keep_us = keep_days * DAY_US
        self._last: Manifest | None = None
        self._mark: bytes | None = None
        self._known: set[tuple[int, int]] = set()  # entries of the list that the archive has already
        self._returned = self._is_settled = False
        self._retained_s = float("-inf")
        self.trouble = ""
        self.segments = self.entries = 0

    async def run(self) -> None:
        """Archive, for ever; a failure is in `trouble`, and tried again."""
        while True:
            await self._clock.sleep(self._interval_s)
            await self.archive_all()

    async def archive_all(self) -> None:
        """Archive all that waits; a failure is in `trouble`."""
        before = self.trouble
        try:
            while await self.archive_some():
                pass
            await self._retain()
        except (JournalError, StorageError, Corrupt, FileRefused) as error:
            self._is_settled = False
            self.trouble = f"{CANNOT}{error.message}"
            if self.trouble != before:
                log.error("%s; play goes on, and it is tried again", self.trouble)
        else:
            self.trouble = ""
            if before:
                log.info("the journal is archived again")

    async def archive_some(self) -> bool:
        """Archive the first entries of the list; True if more are left.

        Raises:
            JournalError: The archive cannot be used.
            StorageError: The store cannot be reached.
            Corrupt: The list holds something else than entries.
        """
        if not self._is_settled:
            await self._settle()
        appended_bytes = self._journal.appended_bytes
        stored, are_all = await self._take()
        if stored:
            await self._storage.flush()
            await self._keep([each for each in stored if not self._is_known(each)])
            await self.drop(stored)
        if are_all:
            self._journal.archived_until(appended_bytes)
        else:
            self._journal.archived(sum(map(len, stored)))
        return not are_all

    async def _keep(self, fresh: Sequence[bytes]) -> None:
        if not fresh:
            return
        taken = await asyncio.to_thread(TakenOut, fresh, self._kind)
        keys = await self._keys.for_sealing(taken.parts)
        pack = partial(make_segment, self._server, self._last, self._mark, taken, keys, returned=self._returned)
        manifest, packed = await asyncio.to_thread(pack)
        await self._archive.put(manifest, packed)
        self._last, self._returned = manifest, False
        self.segments += 1
        self.entries += len(fresh)

    def _is_known(self, stored: bytes) -> bool:
        if not self._known:
            return False
        entry = decode_entry(stored)
        return (entry.run, entry.seq) in self._known

    async def _take(self) -> tuple[list[bytes], bool]:
        """The first entries, and whether these are all."""
        taken: list[bytes] = []
        size = 0
        while size < TAKE_BYTES:
            page = await self._storage.load_list(self._journal.key, start=len(taken), count=TAKE_ENTRIES)
            taken += page
            size += sum(map(len, page))
            if len(page) < TAKE_ENTRIES:
                return taken, True
        return taken, False

    async def drop(self, stored: Sequence[bytes]) -> None:
        """Drop entries from the head of the list, which the archive has, and set the mark of its last segment.

        Raises:
            JournalError: Another archiver is at work, or the store came back with an older state.
            StorageError: The store cannot be reached; the next round finds out whether it happened.
        """
        assert self._last is not None  # the archive has them
        mark = self._last.mark
        guards = (Guard(self._mark_key, self._mark),)
        effects = (DropFirst(self._journal.key, len(stored)), Put(self._mark_key, mark))
        (outcome,) = await self._storage.write([Transaction(guards, effects)])
        if not isinstance(outcome, Committed):
            error = getattr(outcome, "error", None)
            raise error or JournalError(
                f"the mark {self._mark_key} was changed by another program",
                hint="one archiver a server; it looks again",
            )
        self._mark = mark

    async def _settle(self) -> None:
        """Compare the mark in the store with the archive: which entries of the list does the archive have already?"""
        numbers = await self._archive.numbers(self._server)
        self._last = await self._archive.manifest(self._server, numbers[-1]) if numbers else None
        self._mark = await self._storage.load(self._mark_key)
        self._known, self._returned = set(), False
        if self._last is not None and self._mark != self._last.mark:
            since = number_of(self._mark)
            self._returned = not (since == self._last.number - 1 and self._last.before.encode() in (self._mark or b""))
            listed = await self._listed()
            for number in numbers:
                if (number > since or self._returned) and listed:
                    await self._find_known(number, listed)
            if self._returned:
                log.warning("the store is behind the archive of its journal: it came back with an older state")
        self._is_settled = True

    async def _listed(self) -> dict[tuple[int, int], int]:
        listed: dict[tuple[int, int], int] = {}
        start = 0
        while page := await self._storage.load_list(self._journal.key, start=start, count=TAKE_ENTRIES):
            for each in page:
                entry = decode_entry(each)
                listed[entry.run, entry.seq] = entry.at
            start += len(page)
        return listed

    async def _find_known(self, number: int, listed: dict[tuple[int, int], int]) -> None:
        manifest = await self._archive.manifest(self._server, number)
        if manifest.last_us < min(listed.values()):
            return
        for each in read_segment(manifest, await self._archive.read(manifest)).stored:
            entry = decode_entry(each)
            if (entry.run, entry.seq) in listed:
                self._known.add((entry.run, entry.seq))

    async def _retain(self) -> None:
        """Remove whole segments that are too old, the oldest first; the last one stays, because the next names it."""
        if not self._keep_us or self._clock.monotonic_s() - self._retained_s < RETENTION_S:
            return
        self._retained_s = self._clock.monotonic_s()
        until_us = self._clock.wall_us() - self._keep_us
        for number in (await self._archive.numbers(self._server))[:-1]:
            manifest = await self._archive.manifest(self._server, number)
            if manifest.last_us >= until_us:
                return
            await self._archive.remove(manifest)
            log.info("segment %d of the journal of %s is older than journal.keep_days: removed", number, self._server)
