"""Compares both tiers, record by record; nothing is changed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep import keys
from realmkeep.operations.archive.reading import PAGE_RECORDS, all_keys, read_records

if TYPE_CHECKING:
    from realmkeep.keys import RecordKeys
    from realmkeep.operations.archive.reading import HotRecord
    from realmkeep.storage import Storage
    from realmkeep.storage.cold import ColdHead, ColdStore

NAMED_MAX: Final = 100


class Fault(msgspec.Struct, frozen=True, order=True):
    """A record with different states in the tiers, and the difference."""

    key: str
    why: str


class VerifyReport(msgspec.Struct, kw_only=True):
    """The comparison.

    Attributes:
        records: Records of the hot store.
        frozen: Those that are frozen.
        equal: Records that both tiers have in the same state.
        behind: Records whose newest state the cold tier lacks; a cut or a sweep brings it.
        only_cold: Living rows without a record in the hot store.
        faults: Records that cannot come back, or whose states contradict each other; the first hundred.
        faults_count: The number of all of them.
    """

    records: int = 0
    frozen: int = 0
    equal: int = 0
    behind: int = 0
    only_cold: int = 0
    faults: list[Fault] = []
    faults_count: int = 0

    def add(self, key: str, why: str) -> None:
        """Add a fault."""
        self.faults_count += 1
        if len(self.faults) < NAMED_MAX:
            self.faults.append(Fault(key, why))


async def verify(storage: Storage, cold: ColdStore) -> VerifyReport:
    """Compare every record. The row of each frozen record is read wholly, and its digest is computed anew.

    Servers may run meanwhile; their records of the last seconds are `behind`.

    Raises:
        StorageError: A store cannot be reached.
    """
    report = VerifyReport()
    page: list[RecordKeys] = []
    async for _, parsed in all_keys(storage):
        if parsed.role == "record":
            page.append(keys.record_keys(parsed.kind, parsed.id, suffix=parsed.suffix))
        if len(page) == PAGE_RECORDS:
            await _compare(storage, cold, page, report)
            page = []
    await _compare(storage, cold, page, report)
    async for heads in cold.all_heads():
        living = [
            head.key for head in heads if not head.is_deleted and head.key.split(":")[0] not in keys.RESERVED_KINDS
        ]
        for start in range(0, len(living), 1000):
            some = living[start : start + 1000]
            found = await storage.load_many(some)
            report.only_cold += found.count(None)
    return report


async def _compare(storage: Storage, cold: ColdStore, page: list[RecordKeys], report: VerifyReport) -> None:
    hot = [each for each in await read_records(storage, page) if each.record is not None]
    heads = await cold.heads([each.keys.record for each in hot])
    frozen: list[HotRecord] = []
    for record, head in zip(hot, heads, strict=True):
        report.records += 1
        if record.stub is not None:
            report.frozen += 1
            frozen.append(record)
        else:
            _compare_living(record, head, report)
    for record, row in zip(frozen, await cold.rows([each.keys.record for each in frozen]), strict=True):
        stub, key = record.stub, record.keys.record
        assert stub is not None  # only stubs are in the list
        if row is None or row.body is None:
            report.add(key, "is frozen, and the archive has no bytes of it")
        elif (row.revision, row.digest) != stub:
            report.add(
                key, f"is frozen at revision {stub.revision}, and the archive has other bytes, of {row.revision}"
            )
        else:
            report.equal += 1


def _compare_living(record: HotRecord, head: ColdHead | None, report: VerifyReport) -> None:
    row = record.row()
    if head is None or head.revision < row.revision:
        report.behind += 1
    elif head.revision > row.revision:
        report.add(row.key, f"is at revision {row.revision}, and the archive is ahead, at {head.revision}")
    elif head.digest != row.digest:
        report.add(row.key, f"has other bytes in the archive at the same revision {row.revision}")
    else:
        report.equal += 1
