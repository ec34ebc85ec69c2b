"""`realmkeep journal verify --replay`: snapshots and the commits after them, replayed, give what the store holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast, get_origin

import msgspec

from realmkeep.errors import RecordError
from realmkeep.keeping.live.record_keys import keys_of
from realmkeep.keeping.writing.journal_entries import CommitEntry, GapEntry, SnapshotEntry
from realmkeep.operations.journal.history import RecordState, immediate_fields
from realmkeep.operations.journal.segments import records_of
from realmkeep.records import load

if TYPE_CHECKING:
    from realmkeep.keeping.writing.journal_entries import JournalEntry
    from realmkeep.operations.backup.game import Game
    from realmkeep.operations.journal.history import History
    from realmkeep.records import Record
    from realmkeep.storage import Storage


class ReplayReport(msgspec.Struct, frozen=True, kw_only=True):
    """The journal against a store.

    Attributes:
        records: The records that were compared.
        fields: The fields that change in commits alone, of all of them.
        skipped: Records without a snapshot, deleted ones, those of unknown classes, and those with a gap since their snapshot.
        differences: A sentence for each field that is not as the journal says.
    """

    records: int
    fields: int
    skipped: int
    differences: tuple[str, ...]


class _Since(NamedTuple):
    """The entries about one record since its last snapshot, each with its revision."""

    entries: list[tuple[int, JournalEntry]]


async def replay(history: History, storage: Storage, game: Game) -> ReplayReport:
    """Replay the journal of every record of the game, and compare the fields that change in commits alone.

    Stop the servers before: a commit that happens meanwhile looks like a difference. Memory grows with the entries since the last
    snapshot of each record.

    Args:
        history: The journal.
        storage: The store, connected.
        game: The game's classes.

    Raises:
        JournalError, Corrupt: The journal cannot be read.
        StorageError: The store cannot be reached.
    """
    since: dict[str, _Since] = {}
    gaps: list[GapEntry] = []
    async for found in history.entries(lambda _: True, lambda _: True):
        entry = found.entry
        if isinstance(entry, GapEntry):
            gaps.append(entry)
        for key in set(records_of(entry)):
            if (revision := _revision(key, entry)) is not None:
                _note(since.setdefault(key, _Since([])), revision, entry)
    comparing = _Comparing(storage, game, gaps)
    for key, each in since.items():
        await comparing.compare(key, each)
    return ReplayReport(
        records=comparing.records,
        fields=comparing.fields,
        skipped=comparing.skipped,
        differences=tuple(comparing.differences),
    )


def _revision(key: str, entry: JournalEntry) -> int | None:
    """The revision that an entry gives a record; None if it does not change it."""
    if isinstance(entry, SnapshotEntry):
        return entry.rev
    assert isinstance(entry, CommitEntry)  # a gap is about no record
    if key in entry.deleted or any(made == key for made, _ in entry.created):
        return entry.at
    return next((change.rev for change in entry.records if change.key == key), None)


def _note(since: _Since, revision: int, entry: JournalEntry) -> None:
    if isinstance(entry, SnapshotEntry):
        since.entries[:] = [each for each in since.entries if each[0] > revision]
    since.entries.append((revision, entry))


class _Comparing:
    def __init__(self, storage: Storage, game: Game, gaps: list[GapEntry]) -> None:
        self._storage = storage
        self._game = game
        self._gaps = gaps
        self.records = self.fields = self.skipped = 0
        self.differences: list[str] = []

    async def compare(self, key: str, since: _Since) -> None:
        cls = self._game.class_of(key)
        if cls is None or not cls.__realmkeep__.journal:
            self.skipped += 1
            return
        state = RecordState(immediate_fields(cls), self._game.decoder(cls))
        for _, entry in sorted(since.entries, key=lambda each: each[0]):
            state.take(key, entry)
        began_us = min((entry.at for _, entry in since.entries), default=0)
        stored = await self._storage.load(keys_of(cls, key.split(":")[1]).record)
        if not state.is_whole or stored is None or any(gap.at >= began_us for gap in self._gaps):
            self.skipped += 1
            return
        self._compare_fields(key, cls, state, stored)

    def _compare_fields(self, key: str, cls: type[Record], state: RecordState, stored: bytes) -> None:
        self.records += 1
        try:
            record = load(stored, cls, limits=self._game.limits, accept_unchecked=self._game.accept_unchecked).require()
        except RecordError as error:
            self.differences.append(f"{key}: {error.message}")
            return
        held = msgspec.to_builtins(record, str_keys=True, order="deterministic")
        for field in cls.__realmkeep__.durable:
            if field.name not in state.immediate:
                continue
            self.fields += 1
            expected, found = (_in_order(field.type, each.get(field.name)) for each in (state.fields, held))
            if field.name in state.unsure or expected != found:
                shown = (msgspec.json.encode(each).decode()[:80] for each in (expected, found))
                self.differences.append("{}.{}: the journal gives {}, the store has {}".format(key, field.name, *shown))


def _in_order(kind: Any, value: Any) -> Any:
    """A value that can be compared: JSON has a set as a list, in any order."""
    if get_origin(kind) in {set, frozenset} and isinstance(value, list):
        return sorted(cast("list[Any]", value), key=repr)
    return value
