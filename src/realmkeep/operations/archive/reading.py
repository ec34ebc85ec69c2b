"""Records of the hot store, many at one moment, in the form that the cold tier has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from realmkeep import keys
from realmkeep.errors import InvalidKey
from realmkeep.keeping.ownership.revisions import stored_number
from realmkeep.keeping.writing.change_feed import normal_ops
from realmkeep.storage import load_each
from realmkeep.storage.cold import ColdRow, Stub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from realmkeep.keys import ParsedKey, RecordKeys
    from realmkeep.storage import Storage

PAGE_RECORDS: Final = 50  # of five keys each, up to 250 KB: a larger answer takes the event loop a millisecond to read
BESIDE: Final = (":owner", ":updated", ":version", ":ops", ":left")
SLICE_RECORDS: Final = 8  # with full op rings they are compared in half a millisecond


class HotRecord(NamedTuple):
    """The values of a record in the hot store, all of one moment."""

    keys: RecordKeys
    owner: bytes | None
    record: bytes | None
    updated: bytes | None
    version: bytes | None
    ops: bytes | None

    @property
    def stub(self) -> Stub | None:
        """Its stub, if it is frozen."""
        return Stub.read(self.record)

    @property
    def revision(self) -> int:
        """Its revision; that of its stub if it is frozen, 1 for a record of another program, which has none."""
        if (stub := self.stub) is not None:
            return stub.revision
        return max(stored_number(self.updated) or 0, 1) if self.record is not None else stored_number(self.updated) or 0

    def row(self) -> ColdRow:
        """Its row in the cold tier; only for a record that exists and is not frozen."""
        version = stored_number(self.version) or 0
        return ColdRow(self.keys.record, self.revision, version, self.record, normal_ops(self.ops or b""))


async def read_records(storage: Storage, records: Sequence[RecordKeys]) -> list[HotRecord]:
    """Read records; up to `PAGE_RECORDS` of them are of one moment.

    Raises:
        StorageError: The store cannot be reached.
    """
    wanted = [key for each in records for key in (each.owner, each.record, each.updated, each.version, each.ops)]
    found: list[bytes | None] = []
    step = 5 * PAGE_RECORDS
    for start in range(0, len(wanted), step):
        found += await load_each(storage, wanted[start : start + step])
    return [HotRecord(each, *found[5 * at : 5 * at + 5]) for at, each in enumerate(records)]


async def all_keys(storage: Storage) -> AsyncIterator[tuple[str, ParsedKey]]:
    """Every key of the schema in the store, taken apart, but for those that lie beside a record and are read with it.

    Raises:
        StorageError: The store cannot be reached.
    """
    async for key in storage.keys("*"):
        if key.endswith(BESIDE):  # three of four keys; to take them apart takes longer than to compare their records
            continue
        try:
            yield key, keys.parse(key)
        except InvalidKey:  # another program's
            continue


def record_keys_of(key: str) -> RecordKeys | None:
    """The keys of the record at `key`; None if no record can be there."""
    try:
        parsed = keys.parse(key)
    except InvalidKey:
        return None
    if parsed.role != "record":
        return None
    return keys.record_keys(parsed.kind, parsed.id, suffix=parsed.suffix)
