"""The sweep: compares every record of the hot store with the cold tier, and ships what no server is going to ship.

A server that crashed has taken the changes of its last seconds along; the records are in the hot store, and no live server has
them in a cut. All differences that a sweep finds become durable in one transaction, with the claimed states that hold this
server's own cut back, so that both halves of a trade arrive together.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep import keys
from realmkeep.errors import Corrupt, StorageError
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.live.envelope import letter_id
from realmkeep.keeping.live.op_ring import OpRing
from realmkeep.keeping.ownership.lease import Lease, Owner
from realmkeep.keeping.writing.change_feed import Change
from realmkeep.operations.archive.boards import ScoreReader
from realmkeep.operations.archive.erasing import finish_erasures
from realmkeep.operations.archive.reading import PAGE_RECORDS, SLICE_RECORDS, all_keys, read_records, record_keys_of
from realmkeep.operations.archive.shipping import SLICE_ROWS, feed_of
from realmkeep.storage import load_each
from realmkeep.storage.cold import ColdBatch, ColdLetter, ColdRow, ColdScore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep.keeping import Keeper
    from realmkeep.keys import RecordKeys
    from realmkeep.operations.archive.reading import HotRecord
    from realmkeep.storage.cold import ColdStore

log = logging.getLogger("realmkeep.operations.archive")

LETTERS_AT_ONCE: Final = 200
KEYS_AT_ONCE: Final = 250
BATCH_BYTES: Final = 64 * 1024 * 1024  # only the first sweep of a large store finds more: it ships in parts
UNOWNED: Final = frozenset({"account", "operator"})  # records that no server owns, and that are never frozen


class SweepReport(msgspec.Struct, kw_only=True):
    """The findings of a sweep.

    Attributes:
        records: Records that it compared.
        frozen: Records that are frozen.
        shipped: Rows that it raised.
        noted: Records of this server that its next cut has.
        left: Records that a live server has changed; its own cut brings them.
        letters: Letters in inboxes that the cold tier has now.
        erasures: Erasures that it finished.
        parts: Transactions; more than one only where very much was missing.
    """

    records: int = 0
    frozen: int = 0
    shipped: int = 0
    noted: int = 0
    left: int = 0
    letters: int = 0
    erasures: int = 0
    parts: int = 0


def _ring(ops: bytes) -> OpRing:
    try:
        return OpRing.decode(ops, "ops")
    except Corrupt:
        return OpRing()


class _Found:
    """The differences that a sweep has found, and not shipped yet.

    Attributes:
        rows: The records.
        letters: The letters.
        size_bytes: The memory that they take, about.
    """

    def __init__(self) -> None:
        self.rows: list[ColdRow] = []
        self.letters: list[ColdLetter] = []
        self.size_bytes = 0

    def add_rows(self, rows: list[ColdRow]) -> None:
        self.rows += rows
        self.size_bytes += sum([row.size_bytes for row in rows])

    def add_letters(self, letters: list[ColdLetter]) -> None:
        self.letters += letters
        self.size_bytes += sum([len(letter.stored) for letter in letters])


class Sweeper:
    """Sweeps the hot store of one keeper.

    Args:
        keeper: The keeper.
        cold: The cold tier.
    """

    def __init__(self, keeper: Keeper, cold: ColdStore) -> None:
        engine = engine_of(keeper)
        self._engine = engine
        self._storage = engine.storage
        self._clock = engine.clock
        self._cold = cold
        self._feed = feed_of(keeper)
        self._scores = ScoreReader(engine.records)
        self._leases: dict[str, bool] = {}

    async def sweep(self) -> SweepReport:
        """Compare everything once.

        Raises:
            StorageError: A store cannot be reached; nothing of the sweep is half done that matters.
        """
        report = SweepReport()
        self._leases = {}
        await self._engine.barrier.wait_until_passed()  # every server has written again what the store had lost
        run = self._engine.barrier.passed_run
        report.erasures = await finish_erasures(self._storage, self._cold)
        found = _Found()
        page: list[RecordKeys] = []
        accounts: list[str] = []
        started_us = self._clock.wall_us()
        async for key, parsed in all_keys(self._storage):
            if parsed.role == "inbox":
                found.add_letters(await self._letters(key, f"{parsed.kind}:{parsed.id}"))
            elif parsed.role in UNOWNED:
                accounts.append(key)
            elif parsed.role == "record":
                page.append(keys.record_keys(parsed.kind, parsed.id, suffix=parsed.suffix))
            if len(page) == PAGE_RECORDS:
                found.add_rows(await self._differing(page, report))
                page = []
            if len(accounts) == KEYS_AT_ONCE:
                found.add_rows(await self._accounts(accounts, started_us))
                accounts = []
            if found.size_bytes > BATCH_BYTES:
                await self._ship(found, report, run)
                found = _Found()
        opened = await self._opened()
        found.add_rows(await self._differing(page, report))
        found.add_rows(await self._accounts(accounts, started_us))
        await self._ship(found, report, run, {"swept": started_us}, opened)
        await self._cold.tidy()
        return report

    async def _differing(self, page: list[RecordKeys], report: SweepReport) -> list[ColdRow]:
        """The records of a page that this sweep has to ship; those of this server are given to its feed."""
        hot = await read_records(self._storage, page)
        living = [each for each in hot if each.record is not None and each.stub is None]
        frozen = len([each for each in hot if each.record is not None]) - len(living)
        report.records += len(living) + frozen
        report.frozen += frozen
        heads = await self._cold.heads([each.keys.record for each in living])
        rows: list[ColdRow] = []
        for position, (record, head) in enumerate(zip(living, heads, strict=True), 1):
            if position % SLICE_RECORDS == 0:
                await self._clock.sleep(0)
            row = record.row()
            same = head is not None and (head.revision, head.digest) == (row.revision, row.digest)
            if same or (head is not None and head.revision > row.revision):
                continue
            owner = await self._live_owner(record)
            if owner is None:
                rows.append(row)
            elif owner == self._engine.name:
                report.noted += 1
                self._feed.note(Change(row.key, record.keys.ops, row.revision, row.version, row.body, None, row.ops))
            else:
                report.left += 1
        return rows

    async def _live_owner(self, record: HotRecord) -> str | None:
        """The live server that owns a record; None if none does."""
        owner = Owner.read(record.owner, record.keys.owner)
        if owner is None:
            return None
        if owner.server == self._engine.name:
            return owner.server if record.keys.record in self._engine.sessions else None
        lives = self._leases.get(f"{owner.server}/{owner.incarnation}")
        if lives is None:
            key = keys.server_lease(owner.server)
            (stored,) = await load_each(self._storage, [key])
            lives = stored is not None and Lease.decode(stored, key).incarnation == owner.incarnation
            self._leases[f"{owner.server}/{owner.incarnation}"] = lives
        return owner.server if lives else None

    async def _letters(self, key: str, receiver: str) -> list[ColdLetter]:
        stored = await self._storage.load_list(key)
        return [ColdLetter(id_, receiver, each) for each in stored if (id_ := letter_id(each))]

    async def _opened(self) -> list[str]:
        """Letters that a server opened, and then crashed before its cut: the op ring of the receiver has them.

        A live server's own cut tells of those that it opened.
        """
        opened: list[str] = []
        after = 0
        while page := await self._cold.unopened(after, LETTERS_AT_ONCE):
            after = page[-1][0]
            receivers = {letter.receiver: keys for _, letter in page if (keys := record_keys_of(letter.receiver))}
            hot = {each.keys.record: each for each in await read_records(self._storage, [*receivers.values()])}
            for _, letter in page:
                record = hot.get(letter.receiver)
                if record is not None and record.ops and await self._live_owner(record) is None:
                    opened += [letter.id] if _ring(record.ops).has_letter(letter.id) else []
        return opened

    async def _accounts(self, accounts: list[str], revision: int) -> list[ColdRow]:
        """The accounts that differ. One has no revision: its row has the moment of the sweep that found it changed."""
        found = zip(accounts, await load_each(self._storage, accounts), strict=True)
        heads = await self._cold.heads(accounts)
        rows = [None if stored is None else ColdRow(key, revision, 0, stored) for key, stored in found]
        return [
            row
            for row, head in zip(rows, heads, strict=True)
            if row is not None and (head is None or head.digest != row.digest)
        ]

    async def _ship(
        self,
        found: _Found,
        report: SweepReport,
        run: str,
        marks: dict[str, int] | None = None,
        opened: Sequence[str] = (),
    ) -> None:
        """Ship what was found, once no crash of the hot store can take it, and nothing of it has changed meanwhile."""
        if not await self._engine.safe_point.reached(run):
            raise StorageError("the hot store was restarted during the sweep", hint="the next sweep compares again")
        claimed = self._feed.cut.claimed.copy()
        rows = [*claimed.values(), *await self._unchanged([row for row in found.rows if row.key not in claimed])]
        scores: list[ColdScore] = []
        for start in range(0, len(rows), SLICE_ROWS):
            scores += self._scores.scores(rows[start : start + SLICE_ROWS])
            await self._clock.sleep(0)
        written = await self._cold.write(ColdBatch(rows, found.letters, opened, marks or {}, scores, repairs=True))
        report.shipped += written.rows
        report.letters += len(found.letters)
        report.parts += 1
        if written.rows:
            log.info("the sweep has shipped %d records", written.rows)

    async def _unchanged(self, found: list[ColdRow]) -> list[ColdRow]:
        """The rows whose records are as they were read: all of these are of one moment."""
        kept: list[ColdRow] = []
        for start in range(0, len(found), KEYS_AT_ONCE):
            some = found[start : start + KEYS_AT_ONCE]
            updated = [":".join([*row.key.split(":")[:2], "updated"]) for row in some]
            now = await load_each(self._storage, updated)
            kept += [
                row
                for row, stored in zip(some, now, strict=True)
                if row.key.split(":")[0] in UNOWNED or stored is None or stored == b"%d" % row.revision
            ]
        return kept
