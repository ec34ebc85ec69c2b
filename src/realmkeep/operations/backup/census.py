"""The census of a store: every record through the loading path, and a digest of every lasting key."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep import keys
from realmkeep.accounts.account import Account
from realmkeep.errors import InvalidKey, RecordError, WrongType
from realmkeep.keeping.letters.kept_letters import LISTS as LETTER_LISTS
from realmkeep.keeping.live.envelope import PLAIN, open_envelope
from realmkeep.keeping.live.letter_types import RETURNED, Returned, open_letter
from realmkeep.keeping.live.undecodable import UNDECODABLE
from realmkeep.operations.backup.holdings import Holdings, Tally
from realmkeep.operations.operators.operator import Operator
from realmkeep.records import Limits, load
from realmkeep.storage import load_each
from realmkeep.storage.cold import Stub
from realmkeep.storage.reading import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep import Letter, Record
    from realmkeep.storage import Storage

PAGE_KEYS: Final = 500  # values in memory at once: 32 MiB of the largest records
NAMED_MAX: Final = 100  # of unreadable keys and doubled serials in a manifest
DIGEST_BITS: Final = 256
RECORDS: Final = frozenset({"record", "account", "operator"})
LISTS: Final = frozenset({*LETTER_LISTS, "notes", "notices", "control", "audit", "journal"})
# These keys expire, so they may be absent from one restore and not from the next.
PASSING: Final = frozenset(
    {"lease", "left", "throttle", "sealed", "sent", "act", "corrupt", "temp", "synced", "account-notices"}
)


class Unreadable(msgspec.Struct, frozen=True, order=True):
    """A key whose value the game could not use.

    Attributes:
        key: The key of a record, or of a list of letters.
        why: The error of the loading path.
    """

    key: str
    why: str


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """The contents of a store, counted. Two stores with the same lasting contents have equal censuses.

    Attributes:
        keys: The number of lasting keys: those that have no expiry.
        digest: Over every lasting key and its value, whatever their order.
        records: The number of records, by kind.
        versions: The number of records, by kind and stored schema version (`player 3`).
        letters: The number of letters that wait.
        unreadable: Records and letters that the loading path refuses; the first hundred.
        unreadable_count: The number of all of them.
        unknown: The number of records and letters of each kind that the holdings of the game do not name.
        totals: The amount of each thing, as the game counts it.
        serials: The number of serials.
        serials_digest: Over all serials.
        doubled: Serials that occur more than once; the first hundred.
        store_id: The id of the store.
    """

    keys: int
    digest: str
    records: dict[str, int]
    versions: dict[str, int]
    letters: int
    unreadable: tuple[Unreadable, ...]
    unreadable_count: int
    unknown: dict[str, int]
    totals: dict[str, int]
    serials: int
    serials_digest: str
    doubled: tuple[int, ...]
    store_id: str

    def differences(self, other: Census) -> list[str]:
        """A sentence for each field in which another census differs; empty if none does."""
        return [
            f"{name} is {_short(theirs)}, should be {_short(ours)}"
            for name in Census.__struct_fields__
            if (ours := getattr(self, name)) != (theirs := getattr(other, name))
        ]


NOTHING: Final = Census(
    keys=0,
    digest="",
    records={},
    versions={},
    letters=0,
    unreadable=(),
    unreadable_count=0,
    unknown={},
    totals={},
    serials=0,
    serials_digest="",
    doubled=(),
    store_id="",
)


async def count_store(storage: Storage, holdings: Holdings, *, limits: Limits, accept_unchecked: bool) -> Census:
    """Load every record and every letter of a store, and count them. Nothing is written.

    Args:
        storage: Connected, and without other users: the keys are not read at one moment.
        holdings: The game's classes.
        limits: The caps on one record.
        accept_unchecked: As `records.accept_unchecked`.

    Raises:
        StorageError: The store cannot be reached.
    """
    counting = _Counting(holdings, limits, accept_unchecked=accept_unchecked)
    found = [key async for key in storage.keys("*")]
    lasting = counting.lasting(found)
    values = [key for key in lasting if counting.role(key) not in LISTS]
    for first in range(0, len(values), PAGE_KEYS):
        page = values[first : first + PAGE_KEYS]
        for key, value in zip(page, await load_each(storage, page), strict=True):
            if value == UNREADABLE:
                counting.add_list(key, await storage.load_list(key))
            else:
                counting.add_value(key, b"" if value is None else value)
    for key in lasting:
        if counting.role(key) in LISTS:
            try:
                counting.add_list(key, await storage.load_list(key))
            except WrongType as error:
                counting.refuse(key, error.message)
    return counting.census()


class _Counting:
    def __init__(self, holdings: Holdings, limits: Limits, *, accept_unchecked: bool) -> None:
        self._count = holdings.count
        self._limits = limits
        self._accept_unchecked = accept_unchecked
        self._classes = {_class_key(cls): cls for cls in (*holdings.records, Account, Operator)}
        self._letters = {cls.__letter__.kind: cls for cls in (*holdings.letters, Returned)}
        self._parsed: dict[str, keys.ParsedKey | None] = {}
        self._tally = Tally()
        self._digest = 0
        self._keys = self._letters_count = self._unreadable_count = 0
        self._records, self._versions, self._unknown = Counter[str](), Counter[str](), Counter[str]()
        self._unreadable: list[Unreadable] = []
        self._store_id = ""

    def role(self, key: str) -> str:
        """The role of a key; empty for another program's."""
        if key not in self._parsed:
            try:
                self._parsed[key] = keys.parse(key)
            except InvalidKey:
                self._parsed[key] = None
        found = self._parsed[key]
        return "" if found is None else found.role

    def lasting(self, found: Sequence[str]) -> list[str]:
        """The keys that have no expiry, sorted; the revision of a deleted record has one."""
        stored = {
            (parsed.kind, parsed.id)
            for key in found
            if self.role(key) in RECORDS and (parsed := self._parsed[key]) is not None
        }
        return sorted(
            key
            for key in found
            if (role := self.role(key))
            and role not in PASSING
            and (role != "updated" or ((parsed := self._parsed[key]) and (parsed.kind, parsed.id) in stored))
        )

    def add_value(self, key: str, value: bytes) -> None:
        self._add(key, [value])
        parsed = self._parsed[key]
        assert parsed is not None  # a lasting key
        if key == keys.SERVER_STORE_ID:
            self._store_id = value.decode(errors="replace")
        if parsed.role not in RECORDS:
            return
        kind = f"{parsed.kind}:{parsed.suffix}" if parsed.suffix else parsed.kind
        self._records[kind] += 1
        cls = self._classes.get(kind)
        if cls is None:
            self._unknown[kind] += 1
            return
        if Stub.read(value) is not None:  # its bytes are in the cold tier, which has backups of its own
            self._versions[f"{kind} frozen"] += 1
            return
        try:
            loaded = load(value, cls, limits=self._limits, accept_unchecked=self._accept_unchecked)
            record = loaded.require()
        except RecordError as error:
            self.refuse(key, error.message)
            return
        self._versions[f"{kind} {loaded.migrated_from or cls.__realmkeep__.version}"] += 1
        self._count(record, self._tally)

    def add_list(self, key: str, entries: Sequence[bytes]) -> None:
        self._add(key, entries)
        if self.role(key) in LETTER_LISTS:
            for entry in entries:
                self._letters_count += 1
                self._add_letter(key, entry)

    def _add_letter(self, key: str, entry: bytes) -> None:
        try:
            letter = open_envelope(entry)
            if letter.kind == PLAIN:
                self._count(letter.content, self._tally)
                return
            cls: type[Letter] | None = self._letters.get(letter.kind)
            if cls is None:
                self._unknown[f"letter {letter.kind}"] += 1
                return
            opened = open_letter(letter, cls)
        except (RecordError, *UNDECODABLE) as error:
            self.refuse(key, str(error))
            return
        if letter.kind == RETURNED and isinstance(opened, Returned):
            self._add_letter(key, opened.envelope.encode())
        else:
            self._count(opened, self._tally)

    def refuse(self, key: str, why: str) -> None:
        self._unreadable_count += 1
        self._unreadable.append(Unreadable(key, why))

    def _add(self, key: str, entries: Sequence[bytes]) -> None:
        """Add a key to the digest; addition makes it independent of the order."""
        self._keys += 1
        digest = hashlib.sha256()
        for part in (key.encode(), b"%d" % len(entries), *entries):
            digest.update(b"%d:" % len(part))
            digest.update(part)
        self._digest = (self._digest + int.from_bytes(digest.digest(), "big")) % (1 << DIGEST_BITS)

    def census(self) -> Census:
        serials = self._tally.serials
        listed = ",".join(f"{serial}x{times}" for serial, times in sorted(serials.items()))
        return Census(
            keys=self._keys,
            digest=f"{self._digest:064x}",
            records=_sorted(self._records),
            versions=_sorted(self._versions),
            letters=self._letters_count,
            unreadable=tuple(sorted(self._unreadable)[:NAMED_MAX]),
            unreadable_count=self._unreadable_count,
            unknown=_sorted(self._unknown),
            totals=_sorted(self._tally.totals),
            serials=len(serials),
            serials_digest=hashlib.sha256(listed.encode()).hexdigest(),
            doubled=tuple(sorted(serial for serial, times in serials.items() if times > 1)[:NAMED_MAX]),
            store_id=self._store_id,
        )


def _class_key(cls: type[Record]) -> str:
    info = cls.__realmkeep__
    return f"{info.kind}:{info.suffix}" if info.suffix else info.kind


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items()))


def _short(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= 120 else f"{text[:117]}..."
