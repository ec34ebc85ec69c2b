"""Freezing: the record of an absent player leaves the memory of the hot store, and a stub stays in its place.

It ships nothing: the cold tier has these very bytes already, durably. So a trade is never there in half because of it.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep.errors import InvalidKey
from realmkeep.keeping.writing.change_feed import normal_ops
from realmkeep.operations.archive.reading import PAGE_RECORDS, SLICE_RECORDS, read_records, record_keys_of
from realmkeep.storage import Committed, Delete, Failed, Guard, Put, Transaction, load_each
from realmkeep.storage.cold import Stub, digest_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from realmkeep.clock import Clock
    from realmkeep.keys import RecordKeys
    from realmkeep.operations.archive.reading import HotRecord
    from realmkeep.storage import Storage
    from realmkeep.storage.cold import ColdHead, ColdStore

log = logging.getLogger("realmkeep.operations.archive")

AGE_S_MIN: Final = 300.0  # by then no server looks for its last writes of the record any more
REVISIONS_AT_ONCE: Final = 250
DAY_S: Final = 24 * 3600


class FreezeReport(msgspec.Struct, kw_only=True):
    """The outcome of a run.

    Attributes:
        frozen: Records that were frozen.
        live: Records that a server owns.
        letters: Records with letters that wait.
        different: Records that the cold tier does not have exactly so; the next sweep ships them.
        changed: Records that changed in this very moment.
    """

    frozen: int = 0
    live: int = 0
    letters: int = 0
    different: int = 0
    changed: int = 0


class Freezer:
    """Freezes records.

    Args:
        storage: The hot store.
        cold: The cold tier.
        clock: The clock.
        kinds: The kinds of records that may be frozen.
    """

    def __init__(self, storage: Storage, cold: ColdStore, clock: Clock, kinds: Iterable[str]) -> None:
        self._storage = storage
        self._cold = cold
        self._clock = clock
        self._kinds = frozenset(kinds)

    async def freeze_inactive(self, after_s: float) -> FreezeReport:
        """Freeze every record that has not changed for `after_s` seconds, at least `AGE_S_MIN`.

        Raises:
            StorageError: A store cannot be reached; each record is frozen or as it was.
        """
        until_us = self._clock.wall_us() - int(max(after_s, AGE_S_MIN) * 1_000_000)
        report = FreezeReport()
        async for page in self._cold.all_heads():
            old = [head for head in page if head.revision <= until_us and not head.is_deleted and self._may(head.key)]
            await self._freeze(old, report)
        if report.frozen:
            log.info("%d records are frozen", report.frozen)
        return report

    async def freeze(self, keys: Iterable[str]) -> FreezeReport:
        """Freeze these records now, if they have not changed for `AGE_S_MIN`.

        Raises:
            InvalidKey: One of them is no key of a record, or has a suffix; nothing was frozen.
            StorageError: A store cannot be reached.
        """
        keys = list(keys)
        for key in keys:
            if (at := record_keys_of(key)) is None or at.suffix:
                raise InvalidKey(
                    f"{key!r:.200} cannot be frozen", hint="name records without a suffix, such as player:7"
                )
        report = FreezeReport()
        until_us = self._clock.wall_us() - int(AGE_S_MIN * 1_000_000)
        heads = [head for head in await self._cold.heads(keys) if head is not None and not head.is_deleted]
        report.changed += len([head for head in heads if head.revision > until_us])
        await self._freeze([head for head in heads if head.revision <= until_us], report)
        return report

    def _may(self, key: str) -> bool:
        """A record with a suffix stays: its letters would be taken for those of a deleted one."""
        kind, _, rest = key.partition(":")
        return kind in self._kinds and ":" not in rest

    async def _freeze(self, heads: Sequence[ColdHead], report: FreezeReport) -> None:
        """Freeze these records. The revision of a frozen one is absent, so most of them cost no more than that look."""
        for start in range(0, len(heads), REVISIONS_AT_ONCE):
            some = heads[start : start + REVISIONS_AT_ONCE]
            revisions = await load_each(self._storage, [_updated(head.key) for head in some])
            told = [(head, found) for head, found in zip(some, revisions, strict=True) if found is not None]
            equal = [head for head, found in told if found == b"%d" % head.revision]
            report.different += len(told) - len(equal)
            for first in range(0, len(equal), PAGE_RECORDS):
                await self._freeze_page(equal[first : first + PAGE_RECORDS], report)

    async def _freeze_page(self, heads: Sequence[ColdHead], report: FreezeReport) -> None:
        named = [(head, keys) for head in heads if (keys := record_keys_of(head.key)) is not None]
        hot = await read_records(self._storage, [keys for _, keys in named])
        transactions: list[Transaction] = []
        for position, ((head, keys), record) in enumerate(zip(named, hot, strict=True), 1):
            if position % SLICE_RECORDS == 0:
                await self._clock.sleep(0)
            if record.record is None or record.stub is not None:
                continue
            if record.owner is not None:
                report.live += 1
            elif record.updated != b"%d" % head.revision or _digest(record) != head.digest:
                report.different += 1
            else:
                transactions.append(_frozen(keys, head))
        for outcome in await self._storage.write(transactions):
            if isinstance(outcome, Committed):
                report.frozen += 1
            elif isinstance(outcome, Failed):
                if outcome.error.retryable:
                    raise outcome.error
                report.letters += 1  # a list lies where the guard expects nothing
            else:
                report.changed += 1


def _updated(key: str) -> str:
    """The key of the revision of the record at `key`, which may have a suffix."""
    return ":".join([*key.split(":")[:2], "updated"])


def _digest(record: HotRecord) -> bytes:
    return digest_of(record.record or b"", normal_ops(record.ops or b""))


def _frozen(keys: RecordKeys, head: ColdHead) -> Transaction:
    guards = [
        Guard(keys.owner, None),
        Guard(keys.updated, b"%d" % head.revision),
        Guard(keys.inbox, None),
        Guard(keys.kept, None),
    ]
    gone = [Delete(keys.updated), Delete(keys.version), Delete(keys.ops), Delete(keys.left)]
    return Transaction(guards, [Put(keys.record, Stub(head.revision, head.digest).encode()), *gone])
