"""The journal read back: the entries of a record or of an item, and the state of a record at a moment."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import msgspec

from realmkeep import keys
from realmkeep.errors import Corrupt
from realmkeep.keeping.writing.journal_entries import (
    CommitEntry,
    GapEntry,
    JournalEntry,
    SnapshotEntry,
    applied,
    decode_entry,
)
from realmkeep.operations.journal.sealing import ERASED, erase_parts, person_of
from realmkeep.operations.journal.segments import read_segment, records_of
from realmkeep.records import IMMEDIATE, RESERVED_NAMES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from realmkeep.operations.journal.archive import Archive
    from realmkeep.operations.journal.segments import Manifest
    from realmkeep.records import Record
    from realmkeep.storage import Storage

PAGE_ENTRIES: Final = 250
SERIAL: Final = frozenset({"serial"})  # the field of an item, unless a class declares another


class Found(NamedTuple):
    """An entry, and the server that wrote it."""

    server: str
    entry: JournalEntry

    @property
    def at(self) -> tuple[int, int, int]:
        """Its place among the entries of all servers."""
        return self.entry.at, self.entry.run, self.entry.seq


class History:
    """The journals of all servers of a store: their archives, and the entries that wait in the store.

    Args:
        archive: The archive.
        storage: The store, connected.
    """

    def __init__(self, archive: Archive, storage: Storage) -> None:
        self._archive = archive
        self._storage = storage

    async def of_record(self, key: str) -> list[Found]:
        """Every entry about a record, and every gap, in their order. Segments without the record are not read.

        Raises:
            JournalDamaged: A segment is missing or was changed.
            JournalUnavailable: The archive cannot be reached.
            Corrupt: An entry cannot be read.
            StorageError: The store cannot be reached.
        """
        quoted = msgspec.json.encode(key)
        found = [
            each
            async for each in self.entries(
                lambda manifest: key in manifest.records or manifest.gaps > 0,
                lambda stored: quoted in stored or b'"gap"' in stored,
            )
            if isinstance(each.entry, GapEntry) or key in records_of(each.entry)
        ]
        return sorted(found, key=lambda each: each.at)

    async def of_serial(self, serial: int, fields: frozenset[str] = SERIAL) -> list[Found]:
        """Every entry in which an item with this serial moves, in their order. Reads every segment.

        Args:
            serial: The item's serial.
            fields: The fields in which the game's classes declare serials.

        Raises:
            JournalError, Corrupt, StorageError: As `of_record`.
        """
        sought = re.compile(rb"(?<!\d)%d(?!\d)" % serial)
        found = [
            each
            async for each in self.entries(lambda _: True, lambda stored: sought.search(stored) is not None)
            if isinstance(each.entry, CommitEntry) and moves(each.entry, serial, fields)
        ]
        return sorted(found, key=lambda each: each.at)

    async def entries(
        self,
        is_read: Callable[[Manifest], bool],
        is_decoded: Callable[[bytes], bool],
        *,
        sealed: bool = False,
    ) -> AsyncIterator[Found]:
        """Entries of every server, each once; those of one server in the order in which they reached its journal.

        Args:
            is_read: Whether a segment is read.
            is_decoded: Whether an entry is decoded, by its bytes.
            sealed: Leave the parts of persons sealed: for a question to the rest.

        Raises:
            JournalError, Corrupt, StorageError: As `of_record`.
        """
        waiting = {keys.parse(key).id: key async for key in self._storage.keys(keys.server_journal("*"))}
        for server in sorted({*await self._archive.servers(), *waiting}):
            listed = await self._listed(waiting[server], is_decoded) if server in waiting else []
            seen = {(entry.run, entry.seq) for entry in listed}
            for number in await self._archive.numbers(server):
                manifest = await self._archive.manifest(server, number)
                if not is_read(manifest):
                    continue
                lines = await unsealed_lines(self._archive, manifest, sealed=sealed)
                for stored in lines:
                    if is_decoded(stored) and ((entry := decode_entry(stored)).run, entry.seq) not in seen:
                        yield Found(server, entry)
            for entry in listed:
                yield Found(server, entry)

    async def _listed(self, key: str, is_decoded: Callable[[bytes], bool]) -> list[JournalEntry]:
        found: dict[tuple[int, int], JournalEntry] = {}
        start = 0
        while page := await self._storage.load_list(key, start=start, count=PAGE_ENTRIES):
            for stored in page:
                if is_decoded(stored):
                    entry = decode_entry(stored)
                    found[entry.run, entry.seq] = entry
            start += len(page)
        await self._forget_erased([*found.values()])
        return [*found.values()]

    async def _forget_erased(self, waiting: Sequence[JournalEntry]) -> None:
        """Leave the parts of erased persons out of entries that the archiver has not come to yet."""
        of = {key: person_of(key, key.partition(":")[0]) or key for entry in waiting for key in records_of(entry)}
        keys_of_all = await self._archive.person_keys(sorted(set(of.values()))) if of else {}
        gone = {key for key, person in of.items() if keys_of_all.get(person) == b""}
        if gone:
            for entry in waiting:
                erase_parts(entry, gone)


async def unsealed_lines(archive: Archive, manifest: Manifest, *, sealed: bool = False) -> list[bytes]:
    """The entries of a segment, with the parts of persons that have a key.

    Args:
        archive: The archive.
        manifest: That of the segment.
        sealed: Leave the parts sealed.

    Raises:
        JournalDamaged: The segment is missing or was changed.
        JournalUnavailable: The archive cannot be reached.
    """
    segment = read_segment(manifest, await archive.read(manifest))
    if sealed or not segment.sealed:
        return segment.stored if sealed else segment.unsealed(manifest, {})
    keys_of_all = await archive.person_keys([each.person for each in segment.sealed])
    return segment.unsealed(manifest, keys_of_all)


class Move(msgspec.Struct, frozen=True):
    """An item in an entry.

    Attributes:
        where: The key of a record, or `letter to` and the key of its receiver.
        came: It came there; otherwise it left.
    """

    where: str
    came: bool


def moves(entry: CommitEntry, serial: int, fields: frozenset[str] = SERIAL) -> list[Move]:
    """Where an item leaves and comes in a commit; an item that stays in its record does neither.

    Args:
        entry: The commit.
        serial: The item's serial.
        fields: The fields in which the game's classes declare serials.
    """
    counting = _Counting(serial, fields)
    found: list[Move] = []
    for change in entry.records:
        left, came = 0, 0
        for name, each in change.fields.items() if change.fields != ERASED else ():
            was, now = _sides(each)
            left, came = left + counting.count({name: was}), came + counting.count({name: now})
        found += [Move(change.key, came=came > left)] if came != left else []
    found += [Move(f"letter to {to}", came=True) for to, letter in entry.letters if counting.count(letter)]
    found += [Move(key, came=True) for key, stored in entry.created if counting.count(stored)]
    return sorted(found, key=lambda each: each.came)


def _sides(change: Any) -> tuple[Any, Any]:
    if isinstance(change, list):
        return cast("tuple[Any, Any]", tuple(cast("list[Any]", change)))
    return (None, None) if change is None else (change["removed"], change["added"])


class _Counting:
    """Counts an item in values of JSON."""

    def __init__(self, serial: int, fields: frozenset[str]) -> None:
        self._serial = serial
        self._fields = fields
        self._quoted = tuple(f'"{field}"' for field in fields)

    def count(self, value: Any) -> int:
        if isinstance(value, dict):
            held = cast("dict[str, Any]", value)
            named = sum(self._at(held[field]) for field in self._fields if field in held)
            return named + sum(self.count(each) for each in held.values())
        if isinstance(value, list):
            return sum(self.count(each) for each in cast("list[Any]", value))
        if isinstance(value, str) and any(each in value for each in self._quoted):
            try:  # a letter that went back has its envelope as text
                return self.count(msgspec.json.decode(value))
            except msgspec.DecodeError:
                return 0
        return 0

    def _at(self, value: Any) -> int:
        """How often the serial stands in the field: as its value, or in a list or the keys of a dictionary."""
        if isinstance(value, (list, dict)):
            return sum(self._is(each) for each in cast("list[Any]", value))
        return self._is(value)

    def _is(self, value: Any) -> bool:
        return (type(value) is int and value == self._serial) or value == str(self._serial)


class FieldAt(msgspec.Struct, frozen=True):
    """A field at a moment.

    Attributes:
        value: Its value, as JSON.
        exact: It had this value at the moment: it changes in commits alone, and all of them are known.
        as_of_us: The last moment at which this value is certain.
    """

    value: Any
    exact: bool
    as_of_us: int


@dataclass
class RecordState:
    """A record put together from a snapshot and the commits after it.

    Args:
        immediate: The fields that change in commits alone.
        decode: Reads a snapshot in another notation than JSON; None if it cannot be read.

    Attributes:
        fields: The known values.
        as_of_us: For each, the last moment at which it is certain.
        rev: The revision of the last entry that was taken in; 0 for none.
        unsure: The fields that something changed beside the commits, or in a gap, since the last snapshot.
        is_whole: A snapshot was taken in.
    """

    immediate: frozenset[str]
    decode: Callable[[str], dict[str, Any] | None] = lambda _: None
    fields: dict[str, Any] = field(default_factory=dict[str, Any])
    as_of_us: dict[str, int] = field(default_factory=dict[str, int])
    rev: int = 0
    unsure: set[str] = field(default_factory=set[str])
    is_whole: bool = False

    def take(self, key: str, entry: JournalEntry) -> None:
        """Take the next entry in, by revision."""
        if isinstance(entry, SnapshotEntry):
            self._restart(entry.stored, entry.rev, entry.at)
        elif isinstance(entry, GapEntry):
            self.unsure |= self.immediate
        else:
            for made, stored in entry.created:
                if made == key:
                    self._restart(stored, 0, entry.at)
            if key in entry.deleted:
                self.__init__(self.immediate, self.decode)
            for change in entry.records:
                if change.key == key and change.rev > self.rev:
                    self._change(change.fields, entry)
                    self.rev = change.rev

    def at(self, moment_us: int) -> dict[str, FieldAt]:
        """Each known field at a moment behind the last entry."""
        return {
            name: FieldAt(value, exact, moment_us if exact else self.as_of_us[name])
            for name, value in self.fields.items()
            for exact in (name in self.immediate and name not in self.unsure,)
        }

    def _restart(self, stored: Any, rev: int, at_us: int) -> None:
        if isinstance(stored, str):
            stored = self.decode(stored)
        if not isinstance(stored, dict) or stored == ERASED or rev < self.rev:
            return
        held = cast("dict[str, Any]", stored)
        self.fields = {name: value for name, value in held.items() if name not in RESERVED_NAMES}
        self.as_of_us = dict.fromkeys(self.fields, at_us)
        self.rev, self.is_whole = rev, True
        self.unsure.clear()

    def _change(self, fields: dict[str, Any], entry: CommitEntry) -> None:
        if fields == ERASED:
            self.unsure |= {*self.immediate, *self.fields}
            return
        for name, change in fields.items():
            try:
                if entry.cut:
                    raise Corrupt("the values were left out", hint="a later snapshot has them")
                self.fields[name] = _after(self.fields, name, change)
            except Corrupt:
                self.unsure.add(name)
                if isinstance(change, list):
                    self.fields[name] = change[1]
            self.as_of_us[name] = entry.at


def _after(fields: dict[str, Any], name: str, change: Any) -> Any:
    if name not in fields:
        if isinstance(change, list):
            return cast("list[Any]", change)[1]
        raise Corrupt("the value before is not known", hint="no snapshot lies before")
    return applied(fields[name], change)


def immediate_fields(cls: type[Record]) -> frozenset[str]:
    """The fields of a class that change in commits alone."""
    return frozenset(field.name for field in cls.__realmkeep__.durable if field.tier is IMMEDIATE)


def state_at(key: str, found: Iterable[Found], moment_us: int, state: RecordState) -> RecordState:
    """The state of a record at a moment, from the entries about it.

    Args:
        key: The record's key.
        found: Every entry about it, in their order.
        moment_us: The moment, in microseconds since the epoch.
        state: An empty one.
    """
    for each in found:
        if each.entry.at <= moment_us:
            state.take(key, each.entry)
    return state
