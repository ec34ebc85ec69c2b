"""Every record of a class, a page at a time, for tools; no record is claimed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from realmkeep import keys
from realmkeep.errors import InvalidKey, RealmkeepError
from realmkeep.keys import RecordKeys, record_keys
from realmkeep.records import Record
from realmkeep.storage import load_each

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from realmkeep.storage import Storage

R = TypeVar("R", bound=Record)

PAGE_RECORDS: Final = 64  # in memory at once: 4 MiB of the largest


@dataclass(frozen=True)
class ScannedRecord(Generic[R]):
    """One record of a scan, as a copy, or the error that it gave.

    Attributes:
        id: Its id, as text.
        record: The record; None if it cannot be read.
        error: The reason; None if it can be read. The bytes stay in the store as they were; no copy of them is kept.
    """

    id: str
    record: R | None
    error: RealmkeepError | None = None

    def require(self) -> R:
        """The record.

        Raises:
            RealmkeepError: It cannot be read; this is `error`.
        """
        if self.record is None:
            assert self.error is not None  # one of the two is there
            raise self.error
        return self.record


async def scan(
    cls: type[R], storage: Storage, read: Callable[[RecordKeys, bytes | None], R | None]
) -> AsyncIterator[ScannedRecord[R]]:
    """Every record of a class, in no order, each once; see `Table.scan`.

    Args:
        cls: Their class.
        storage: The store.
        read: Returns a record from these bytes, or from its live session; None if it is absent by now.

    Raises:
        StorageError: The store cannot be reached.
    """
    info = cls.__realmkeep__
    page: list[RecordKeys] = []
    async for key in storage.keys(f"{info.kind}:*{f':{info.suffix}' if info.suffix else ''}"):
        if (found := _keys_in(key, info.kind, info.suffix)) is None:
            continue
        page.append(found)
        if len(page) == PAGE_RECORDS:
            for scanned in await _read(page, storage, read):
                yield scanned
            page.clear()
    for scanned in await _read(page, storage, read):
        yield scanned


async def _read(
    page: Sequence[RecordKeys], storage: Storage, read: Callable[[RecordKeys, bytes | None], R | None]
) -> list[ScannedRecord[R]]:
    scanned: list[ScannedRecord[R]] = []
    for each, stored in zip(page, await load_each(storage, [each.record for each in page]), strict=True):
        try:
            record = read(each, stored)
        except RealmkeepError as error:
            scanned.append(ScannedRecord(each.id, None, error))
            continue
        if record is not None:
            scanned.append(ScannedRecord(each.id, record))
    return scanned


def _keys_in(key: str, kind: str, suffix: str) -> RecordKeys | None:
    """The keys of the record at `key`; None if the key is of no record of this class."""
    try:
        found = keys.parse(key)
    except InvalidKey:
        return None
    if found.role not in ("record", "account", "operator") or (found.kind, found.suffix) != (kind, suffix):
        return None
    return record_keys(kind, found.id, suffix=suffix, internal=True)
