"""`realmkeep economy audit`: everything that a store holds, counted; serials that exist twice; what was made and destroyed.

Memory is bounded: keys, serials and their records are in a temporary database on disk, and records are read a page at a time.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep import keys
from realmkeep.errors import InvalidKey, RecordError
from realmkeep.keeping.letters.kept_letters import LISTS as LETTER_LISTS
from realmkeep.keeping.live.undecodable import UNDECODABLE
from realmkeep.keeping.writing.journal_entries import CommitEntry, SnapshotEntry
from realmkeep.operations.economy.letters import held_in_letter, letters_by_kind
from realmkeep.records import held_by, load
from realmkeep.storage import load_each
from realmkeep.storage.reading import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep.operations.backup.game import Game
    from realmkeep.operations.journal.history import History
    from realmkeep.records import Held
    from realmkeep.storage import Storage

PAGE_KEYS: Final = 200  # values in memory at once: about 13 MiB of the largest records
CACHE_KIB: Final = 8 * 1024  # of the temporary database
NAMED_MAX: Final = 100


class Doubled(msgspec.Struct, frozen=True):
    """An item that exists more than once.

    Attributes:
        serial: Its serial.
        where: The keys of the records and letter lists that hold it.
    """

    serial: int
    where: tuple[str, ...]


class Flow(msgspec.Struct, frozen=True):
    """What the journal knows of one thing and one reason.

    Attributes:
        name: The conserved thing; `items` for items with a serial.
        reason: The reason that the commits gave; `created` for new records.
        made: How much was made.
        destroyed: How much was destroyed.
    """

    name: str
    reason: str
    made: int
    destroyed: int


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """The economy of a store.

    Attributes:
        records: The number of records that were counted, by kind.
        by_kind: The amount of each conserved thing, by kind and name (`player gold`); letters are a kind.
        totals: The amount of each conserved thing.
        serials: The number of items with a serial.
        doubled: Items that exist more than once; the first hundred.
        doubled_count: The number of all of them.
        unreadable: Keys that cannot be read; the first hundred.
        flows: What was made and destroyed, from the journal.
        unbalanced: What commits made or destroyed without a declaration, by name, from the journal.
    """

    records: dict[str, int]
    by_kind: dict[str, int]
    totals: dict[str, int]
    serials: int
    doubled: tuple[Doubled, ...]
    doubled_count: int
    unreadable: tuple[str, ...]
    flows: tuple[Flow, ...]
    unbalanced: dict[str, int]


async def audit_economy(storage: Storage, game: Game, history: History | None, *, until_us: int | None = None) -> Audit:
    """Count a store. Nothing is written.

    Records are read a page at a time. If servers run, an item may be seen on its way: a doubled serial is read again, at one moment,
    before it is reported; totals are of about this moment.

    Args:
        storage: Connected.
        game: The game's classes.
        history: The journal; None to leave it out.
        until_us: Leave out what the journal has after this moment: that of a backup.

    Raises:
        StorageError: The store cannot be reached.
        JournalError: The archive cannot be reached, or is damaged.
    """
    found = await asyncio.to_thread(_FoundItems)
    try:
        counting = _Counting(storage, game, found)
        await counting.count()
        doubled = await counting.doubled()
    finally:
        await asyncio.to_thread(found.close)
    flows, unbalanced = await _flows(history, until_us)
    return Audit(
        records=_sorted(counting.records),
        by_kind=_sorted(counting.by_kind),
        totals=_sorted(counting.totals),
        serials=counting.serials,
        doubled=tuple(doubled[:NAMED_MAX]),
        doubled_count=len(doubled),
        unreadable=tuple(sorted(counting.unreadable)[:NAMED_MAX]),
        flows=flows,
        unbalanced=unbalanced,
    )


class _FoundItems:
    """Keys and serials in a temporary database, which SQLite moves to the disk when it grows. Every method blocks."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._database.execute("PRAGMA synchronous = OFF")
        self._database.execute("CREATE TABLE seen (key TEXT PRIMARY KEY) WITHOUT ROWID")
        self._database.execute("CREATE TABLE items (serial INTEGER, key TEXT)")
        self._database.execute("CREATE INDEX by_serial ON items (serial)")
        self._database.execute("BEGIN")

    def close(self) -> None:
        self._database.close()

    def new_among(self, page: Sequence[str]) -> list[str]:
        """The keys that were not seen before: a store may list one twice."""
        insert = "INSERT OR IGNORE INTO seen VALUES (?)"
        return [key for key in page if self._database.execute(insert, (key,)).rowcount > 0]

    def add(self, rows: Sequence[tuple[int, str]]) -> None:
        self._database.executemany("INSERT INTO items VALUES (?, ?)", rows)

    def count(self) -> int:
        return self._database.execute("SELECT count(DISTINCT serial) FROM items").fetchone()[0]

    def doubled(self) -> list[tuple[int, list[str]]]:
        """The serials that occur more than once, each with its keys."""
        several = "SELECT serial FROM items GROUP BY serial HAVING count(*) > 1 ORDER BY serial"
        of_one = "SELECT DISTINCT key FROM items WHERE serial = ?"
        return [
            (serial, [key for (key,) in self._database.execute(of_one, (serial,)).fetchall()])
            for (serial,) in self._database.execute(several).fetchall()
        ]


class _Counting:
    def __init__(self, storage: Storage, game: Game, found: _FoundItems) -> None:
        self._storage = storage
        self._game = game
        self._classes = {(cls.__realmkeep__.kind, cls.__realmkeep__.suffix): cls for cls in game.holdings.records}
        self._letters = letters_by_kind(game.holdings)
        self._found = found
        self.records, self.by_kind, self.totals = Counter[str](), Counter[str](), Counter[str]()
        self.unreadable: list[str] = []
        self.serials = 0

    async def count(self) -> None:
        page: list[str] = []
        async for key in self._storage.keys("*"):
            if _is_counted(key):
                page.append(key)
            if len(page) == PAGE_KEYS:
                await self._count_page(page)
                page = []
        await self._count_page(page)
        self.serials = await asyncio.to_thread(self._found.count)

    async def doubled(self) -> list[Doubled]:
        """Items that exist more than once, also if their records are read again at one moment."""
        found: list[Doubled] = []
        for serial, holders in await asyncio.to_thread(self._found.doubled):
            again = [key for key, held in await self._read(holders) for each in held.serials if each == serial]
            if len(again) > 1:
                found.append(Doubled(serial, tuple(sorted(again))))
        return found

    async def _count_page(self, page: Sequence[str]) -> None:
        new = await asyncio.to_thread(self._found.new_among, page)
        items: list[tuple[int, str]] = []
        for key, held in await self._read(new):
            kind = "letters" if _role(key) in LETTER_LISTS else keys.parse(key).kind
            for name, amount in held.amounts.items():
                self.by_kind[f"{kind} {name}"] += amount
                self.totals[name] += amount
            items += [(serial, key) for serial in held.serials]
            if kind != "letters":
                self.records[kind] += 1
        await asyncio.to_thread(self._found.add, items)

    async def _read(self, page: Sequence[str]) -> list[tuple[str, Held]]:
        """What each record holds, and each letter of a list."""
        found: list[tuple[str, Held]] = []
        values = [key for key in page if _role(key) not in LETTER_LISTS]
        for key, value in zip(values, await load_each(self._storage, values), strict=True):
            if value is None:
                continue
            try:
                found += [(key, held)] if (held := self._held(key, value)) is not None else []
            except RecordError:
                self.unreadable.append(key)
        for key in page:
            if _role(key) in LETTER_LISTS:
                for entry in await self._storage.load_list(key):
                    try:
                        found += [(key, held)] if (held := held_in_letter(entry, self._letters)) is not None else []
                    except (RecordError, *UNDECODABLE):
                        self.unreadable.append(key)
        return found

    def _held(self, key: str, value: bytes) -> Held | None:
        parsed = keys.parse(key)
        cls = self._classes.get((parsed.kind, parsed.suffix))
        if cls is None or value == UNREADABLE:
            return None
        loaded = load(value, cls, limits=self._game.limits, accept_unchecked=self._game.accept_unchecked)
        return held_by(cls.__realmkeep__, loaded.require())


async def _flows(history: History | None, until_us: int | None) -> tuple[tuple[Flow, ...], dict[str, int]]:
    made, destroyed, unbalanced = Counter[tuple[str, str]](), Counter[tuple[str, str]](), Counter[str]()
    if history is not None:
        async for found in history.entries(
            lambda _: True, lambda stored: b'"minted"' in stored or b'"unbalanced"' in stored, sealed=True
        ):
            entry = found.entry
            if not isinstance(entry, (CommitEntry, SnapshotEntry)) or (until_us is not None and entry.at > until_us):
                continue
            for name, amount, reason, serial in entry.minted:
                sums, thing = (made if amount > 0 else destroyed), "items" if serial else name
                sums[thing, reason] += abs(amount)
            for name, amount in entry.unbalanced.items() if isinstance(entry, CommitEntry) else ():
                unbalanced[name] += amount
    things = sorted({*made, *destroyed})
    return tuple(Flow(*thing, made[thing], destroyed[thing]) for thing in things), _sorted(unbalanced)


def _role(key: str) -> str:
    try:
        return keys.parse(key).role
    except InvalidKey:
        return ""


def _is_counted(key: str) -> bool:
    return (role := _role(key)) == "record" or role in LETTER_LISTS


def _sorted(counts: Counter[Any]) -> dict[str, int]:
    return dict(sorted(counts.items()))
