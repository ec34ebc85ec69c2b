"""After a loss of the hot store, or a restore of either tier: the hot store gets what only the cold tier has.

The servers are stopped. Where the cold tier is newer a stub takes the record's place, and the login thaws it; a tombstone deletes
the record. So a lost hot store is rebuilt at the speed of writing stubs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep import keys
from realmkeep.errors import CopyRefused
from realmkeep.keeping.live.envelope import letter_id
from realmkeep.keeping.ownership.id_counter import ID_MAX, count_in
from realmkeep.keys import SERVER_ID_COUNTER
from realmkeep.operations.archive.boards import boards_of
from realmkeep.operations.archive.reading import PAGE_RECORDS, read_records, record_keys_of
from realmkeep.operations.backup.fence import write_effects
from realmkeep.storage import Append, Delete, Put, load_each
from realmkeep.storage.cold import Stub

if TYPE_CHECKING:
    from realmkeep.keys import RecordKeys
    from realmkeep.operations.archive.reading import HotRecord
    from realmkeep.operations.backup.erasures import Erasures
    from realmkeep.storage import Effect, Storage
    from realmkeep.storage.cold import ColdHead, ColdRow, ColdStore

IDS_SKIPPED: Final = 2**32  # ids that may have been given out since the last cut: a million a second for an hour
LETTERS_AT_ONCE: Final = 1000
KEYS_AT_ONCE: Final = 1000
UNOWNED: Final = frozenset({"account", "operator"})


class ReconcileReport(msgspec.Struct, kw_only=True):
    """The outcome.

    Attributes:
        rows: Rows of the cold tier.
        stubs: Records that are frozen now, because the cold tier is newer.
        put: Records that are back in the hot store itself: accounts, and records that cannot be frozen.
        deleted: Records that a tombstone deleted.
        denied: Frozen records whose row is older than their stub, or is missing: their logins are denied.
        letters: Letters that are back in an inbox.
        erased: Rows that were erased once more, because of the list of erasures.
        ids_from: The number from which ids go on; 0 if the counter was not changed.
    """

    rows: int = 0
    stubs: int = 0
    put: int = 0
    deleted: int = 0
    denied: list[str] = []
    letters: int = 0
    erased: int = 0
    ids_from: int = 0


class Reconciler:
    """Reconciles a hot store with its cold tier.

    Args:
        storage: The hot store, without servers.
        cold: The cold tier.
        as_of_us: The moment of the backup from which the hot store was restored, in microseconds since the epoch: a restore gives
            each record a new revision, and every row after this moment is newer all the same. None: no backup was restored.
        erasures: The list of erasures, which no backup takes back; None for none.
    """

    def __init__(
        self, storage: Storage, cold: ColdStore, *, as_of_us: int | None = None, erasures: Erasures | None = None
    ) -> None:
        self._storage = storage
        self._cold = cold
        self._as_of_us = as_of_us
        self._erasures = erasures
        self._report = ReconcileReport()

    async def run(self) -> ReconcileReport:
        """Reconcile every record; a second run changes nothing more.

        Raises:
            CopyRefused: A server runs on the hot store.
            StorageError: A store cannot be reached; run it again.
        """
        await self._check_no_server()
        async for heads in self._cold.all_heads():
            living = await self._erase_again(heads)
            for start in range(0, len(living), PAGE_RECORDS):
                await self._records(living[start : start + PAGE_RECORDS])
        await self._find_denied()
        await self._bring_letters()
        await self._move_ids_on()
        await self._storage.flush()  # once: a store with fsync once a second takes a second for it
        return self._report

    async def _check_no_server(self) -> None:
        servers = [keys.parse(key).id async for key in self._storage.keys("server:*:lease")]
        if servers:
            raise CopyRefused(
                f"servers run on the hot store: {', '.join(sorted(servers))}",
                hint="stop them; the lease of a server that crashed is gone after keeper.lease_ttl_s (30 s)",
            )

    async def _erase_again(self, heads: list[ColdHead]) -> list[ColdHead]:
        """Erase the rows that came back with an old backup of the cold tier; the other rows."""
        self._report.rows += len(heads)
        erasures = self._erasures
        if erasures is None or not erasures.any:
            return heads
        left: list[ColdHead] = []
        for head in heads:
            parsed = keys.parse(head.key)
            if not head.is_deleted and erasures.has(parsed):
                await self._cold.erase(head.key, head.revision + 1, boards_of(head.key))
                self._report.erased += 1
                left.append(msgspec.structs.replace(head, revision=head.revision + 1, digest=b""))
            else:
                left.append(head)
        return left

    async def _records(self, heads: list[ColdHead]) -> None:
        accounts = [head for head in heads if head.key.split(":")[0] in UNOWNED]
        named = [(head, found) for head in heads if (found := record_keys_of(head.key)) is not None]
        hot = await read_records(self._storage, [each for _, each in named])
        newer = [
            (head, at, record) for (head, at), record in zip(named, hot, strict=True) if self._is_newer(head, record)
        ]
        whole = [head.key for head, at, _ in newer if at.suffix and not head.is_deleted]
        whole += [head.key for head in accounts if not head.is_deleted]
        rows = {row.key: row for row in await self._cold.rows(whole) if row is not None}
        effects: list[Effect] = []
        for head, at, record in newer:
            if head.is_deleted:
                if record.record is not None:
                    self._report.deleted += 1
                    effects += [Delete(key) for key in (at.record, *_beside(at))]
            elif (row := rows.get(head.key)) is not None:
                self._report.put += 1
                effects += _whole(at, row)
            else:
                self._report.stubs += 1
                effects += [Put(at.record, Stub(head.revision, head.digest).encode()), *map(Delete, _beside(at))]
        effects += await self._accounts(accounts, rows)
        await write_effects(self._storage, effects)

    def _is_newer(self, head: ColdHead, record: HotRecord) -> bool:
        if record.record is None and head.is_deleted:
            return False
        have = record.revision if record.record is not None else 0
        if record.stub is None and self._as_of_us is not None:
            have = min(have, self._as_of_us)
        return head.revision > have

    async def _accounts(self, heads: list[ColdHead], rows: dict[str, ColdRow]) -> list[Effect]:
        """Accounts come back only where the hot store has none: their rows have no revision of their own."""
        found = await load_each(self._storage, [head.key for head in heads])
        effects: list[Effect] = []
        for head, stored in zip(heads, found, strict=True):
            row = rows.get(head.key)
            if stored is None and row is not None and row.body is not None:
                self._report.put += 1
                effects.append(Put(head.key, row.body))
        return effects

    async def _find_denied(self) -> None:
        """Name the frozen records that the cold tier does not have as their stubs say."""
        page: list[str] = []
        async for key in self._storage.keys("*"):
            if record_keys_of(key) is not None:
                page.append(key)
            if len(page) == KEYS_AT_ONCE:
                await self._deny(page)
                page = []
        await self._deny(page)

    async def _deny(self, page: list[str]) -> None:
        found = zip(page, await load_each(self._storage, page), strict=True)
        stubs = [(key, stub) for key, stored in found if (stub := Stub.read(stored)) is not None]
        heads = await self._cold.heads([key for key, _ in stubs])
        for (key, stub), head in zip(stubs, heads, strict=True):
            if head is None or (head.revision, head.digest) != stub:
                self._report.denied.append(key)

    async def _bring_letters(self) -> None:
        after, denied = 0, frozenset(self._report.denied)
        while found := await self._cold.unopened(after, LETTERS_AT_ONCE):
            after = found[-1][0]
            effects: list[Effect] = []
            for _, letter in found:
                at = record_keys_of(letter.receiver)
                if at is None or at.record in denied or not await self._storage.exists(at.record):
                    continue
                lists = [*await self._storage.load_list(at.inbox), *await self._storage.load_list(at.kept)]
                if letter.id not in map(letter_id, lists):
                    effects.append(Append(at.inbox, letter.stored))
            self._report.letters += len(effects)
            await write_effects(self._storage, effects)

    async def _move_ids_on(self) -> None:
        """Move the counter beyond every id that was given out, also after the last cut."""
        given = (await self._cold.marks()).get("ids", 0)
        counted = count_in(await self._storage.load(SERVER_ID_COUNTER))
        if not given or (counted is not None and counted >= given and self._as_of_us is None):
            return
        self._report.ids_from = min(max(given, counted or 0) + IDS_SKIPPED, ID_MAX - 1)
        await write_effects(self._storage, [Put(SERVER_ID_COUNTER, b"%d" % self._report.ids_from)])


def _beside(at: RecordKeys) -> tuple[str, ...]:
    return (at.updated, at.version, at.ops, at.owner, at.left)


def _whole(at: RecordKeys, row: ColdRow) -> list[Effect]:
    ops: Effect = Put(at.ops, row.ops) if row.ops else Delete(at.ops)
    numbers: list[Effect] = [Put(at.updated, b"%d" % row.revision), Put(at.version, b"%d" % row.version)]
    return [Put(at.record, row.body or b""), *numbers, ops, Delete(at.owner), Delete(at.left)]
