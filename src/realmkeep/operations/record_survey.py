"""Every record of a store through the loading path, a page at a time; nothing is written."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep import keys
from realmkeep.accounts.account import Account
from realmkeep.errors import InvalidKey, RecordError
from realmkeep.operations.operators.operator import Operator
from realmkeep.records import load
from realmkeep.storage import load_each
from realmkeep.storage.cold import Stub

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realmkeep import Record
    from realmkeep.records import Limits
    from realmkeep.storage import Storage

PAGE_KEYS: Final = 64  # values in memory at once: 4 MiB of the largest records
NAMED_MAX: Final = 100
RECORDS: Final = frozenset({"record", "account", "operator"})


class Unusable(msgspec.Struct, frozen=True, order=True):
    """A record that the loading path refuses, with its sentence."""

    key: str
    why: str


class Survey(msgspec.Struct, frozen=True, kw_only=True):
    """The records of a store.

    Attributes:
        keys: The number of all keys.
        records: Records that can be used, by kind.
        versions: Records by kind and stored version (`player 2`), or `frozen`.
        behind: Records of an older version than the code's, by kind.
        mended: Records that loading mends or clamps.
        unusable: Records that it refuses; the first hundred.
        unusable_count: The number of all of them.
        unknown: Records without a class, by kind.
        foreign: Keys that Realmkeep does not build; the first hundred.
        foreign_count: The number of all of them.
    """

    keys: int
    records: dict[str, int]
    versions: dict[str, int]
    behind: dict[str, int]
    mended: int
    unusable: tuple[Unusable, ...]
    unusable_count: int
    unknown: dict[str, int]
    foreign: tuple[str, ...]
    foreign_count: int

    @property
    def sound(self) -> bool:
        """Every record can be used, and has a class."""
        return not (self.unusable_count or self.unknown)


class RecordSurvey:
    """Surveys the records of a game.

    Args:
        classes: Its record classes; accounts and operators are always known.
        limits: The caps on one record.
        accept_unchecked: As `records.accept_unchecked`.
    """

    def __init__(self, classes: Sequence[type[Record]], limits: Limits, *, accept_unchecked: bool) -> None:
        self._classes = {kind_of(cls): cls for cls in (*classes, Account, Operator)}
        self._limits = limits
        self._accept_unchecked = accept_unchecked
        self._keys = self._mended = self._unusable_count = self._foreign_count = 0
        self._records, self._versions = Counter[str](), Counter[str]()
        self._behind, self._unknown = Counter[str](), Counter[str]()
        self._unusable: list[Unusable] = []
        self._foreign: list[str] = []

    async def run(self, storage: Storage, progress: Callable[[int], None] = lambda _: None) -> Survey:
        """Read every key of a store, and load every record.

        Args:
            storage: Connected; servers may use it meanwhile.
            progress: Called with the number of keys read so far.

        Raises:
            StorageError: The store cannot be reached.
        """
        page: list[str] = []
        async for key in storage.keys("*"):
            self._keys += 1
            if self._is_record(key):
                page.append(key)
            if len(page) == PAGE_KEYS:
                await self._load(storage, page)
                page.clear()
            progress(self._keys)
        await self._load(storage, page)
        return Survey(
            keys=self._keys,
            records=_sorted(self._records),
            versions=_sorted(self._versions),
            behind=_sorted(self._behind),
            mended=self._mended,
            unusable=tuple(sorted(self._unusable)),
            unusable_count=self._unusable_count,
            unknown=_sorted(self._unknown),
            foreign=tuple(sorted(self._foreign)),
            foreign_count=self._foreign_count,
        )

    def _is_record(self, key: str) -> bool:
        try:
            return keys.parse(key).role in RECORDS
        except InvalidKey:
            self._foreign_count += 1
            if len(self._foreign) < NAMED_MAX:
                self._foreign.append(key)
            return False

    async def _load(self, storage: Storage, page: Sequence[str]) -> None:
        for key, stored in zip(page, await load_each(storage, page), strict=True):
            if stored is not None:  # otherwise it was deleted meanwhile
                self._judge(key, stored)

    def _judge(self, key: str, stored: bytes) -> None:
        parsed = keys.parse(key)
        kind = f"{parsed.kind}:{parsed.suffix}" if parsed.suffix else parsed.kind
        cls = self._classes.get(kind)
        if cls is None:
            self._unknown[kind] += 1
            return
        if Stub.read(stored) is not None:  # its bytes are in the cold tier
            self._records[kind] += 1
            self._versions[f"{kind} frozen"] += 1
            return
        try:
            loaded = load(stored, cls, limits=self._limits, accept_unchecked=self._accept_unchecked)
            loaded.require()
        except RecordError as error:
            self._unusable_count += 1
            if len(self._unusable) < NAMED_MAX:
                self._unusable.append(Unusable(key, error.message))
            return
        self._records[kind] += 1
        self._mended += bool(loaded.issues)
        behind = loaded.migrated_from is not None
        self._behind[kind] += behind
        self._versions[f"{kind} {loaded.migrated_from if behind else cls.__realmkeep__.version}"] += 1


def kind_of(cls: type[Record]) -> str:
    """The kind of a class, with its suffix: `player`, `zone:objects`."""
    info = cls.__realmkeep__
    return f"{info.kind}:{info.suffix}" if info.suffix else info.kind


def _sorted(counted: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in sorted(counted.items()) if count}
