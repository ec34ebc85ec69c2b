"""Migrates every stored record of an older version, one at a time, under a claim; live servers' records are left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from realmkeep import keys
from realmkeep.accounts.account import Account
from realmkeep.errors import AlreadyOwned, InvalidKey, Quarantined, RecordError
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.live.record_keys import limits_of
from realmkeep.operations.operators.operator import Operator
from realmkeep.operations.record_survey import NAMED_MAX, PAGE_KEYS, RECORDS, Unusable, kind_of
from realmkeep.records import load
from realmkeep.storage import load_each
from realmkeep.storage.cold import Stub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from realmkeep import Keeper, Record


class MigrationReport(msgspec.Struct, frozen=True, kw_only=True):
    """The outcome of a run.

    Attributes:
        migrated: Records that have the present version now, by kind.
        live: Records that a live server owns: it writes them in the version of its own code.
        unusable: Records that cannot be migrated; the first hundred. Their bytes are as before.
        unusable_count: The number of all of them.
    """

    migrated: dict[str, int]
    live: int
    unusable: tuple[Unusable, ...]
    unusable_count: int


class MigrationRun:
    """One run over a store. A run that was killed is started again: it finds the records that are left.

    Args:
        keeper: A keeper of its own.
        classes: The record classes of the game.
    """

    def __init__(self, keeper: Keeper, classes: Sequence[type[Record]]) -> None:
        engine = engine_of(keeper)
        self._keeper = keeper
        self._engine = engine
        self._classes = {kind_of(cls): cls for cls in (*classes, Account, Operator)}
        self._migrated: dict[str, int] = {}
        self._live = self._unusable_count = 0
        self._unusable: list[Unusable] = []

    async def run(self, progress: Callable[[int], None] = lambda _: None) -> MigrationReport:
        """Migrate what is behind.

        Args:
            progress: Called with the number of records looked at so far.

        Raises:
            StorageError: The store cannot be reached; start the run again.
        """
        looked = 0
        async for page in self._pages():
            for key, stored in zip(page, await load_each(self._engine.storage, page), strict=True):
                if stored is not None:
                    await self._migrate(key, stored)
                looked += 1
                progress(looked)
        return MigrationReport(
            migrated=dict(sorted(self._migrated.items())),
            live=self._live,
            unusable=tuple(self._unusable),
            unusable_count=self._unusable_count,
        )

    async def _pages(self) -> AsyncIterator[list[str]]:
        page: list[str] = []
        async for key in self._engine.storage.keys("*"):
            if self._class_at(key) is not None:
                page.append(key)
            if len(page) == PAGE_KEYS:
                yield page
                page = []
        yield page

    def _class_at(self, key: str) -> type[Record] | None:
        try:
            parsed = keys.parse(key)
        except InvalidKey:
            return None
        kind = f"{parsed.kind}:{parsed.suffix}" if parsed.suffix else parsed.kind
        return self._classes.get(kind) if parsed.role in RECORDS else None

    async def _migrate(self, key: str, stored: bytes) -> None:
        cls = self._class_at(key)
        assert cls is not None  # `_pages` gives no other
        records = self._engine.records
        if Stub.read(stored) is not None:  # it is migrated when it is thawed
            return
        try:
            loaded = load(stored, cls, limits=limits_of(records), accept_unchecked=records.accept_unchecked)
            loaded.require()
            if loaded.migrated_from is None:
                return
            if await self._write(cls, keys.parse(key).id):
                kind = kind_of(cls)
                self._migrated[kind] = self._migrated.get(kind, 0) + 1
        except AlreadyOwned:
            self._live += 1
        except (RecordError, Quarantined) as error:
            self._unusable_count += 1
            if len(self._unusable) < NAMED_MAX:
                self._unusable.append(Unusable(key, error.message))

    async def _write(self, cls: type[Record], id_: str) -> bool:
        """Write one record anew: an owned one by its claim, which loads, migrates and saves it; True if it did."""
        if cls is Account or cls is Operator:
            unowned = self._keeper.unowned(cls)
            found = await unowned.get(id_)
            return found is not None and await unowned.replace(id_, found, found.record)
        async with self._keeper.borrow(cls, id_) as session:
            if session is None:
                return False
            await session.settled()
            return True
