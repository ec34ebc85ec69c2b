"""The journal of a server: one entry a commit, in the commit's own transaction, and snapshots of records.

The entries wait in a list of the store for an archiver. Too long a backlog makes a gap; the journal never holds up play.
"""

from __future__ import annotations

import logging
from itertools import compress
from operator import is_not
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zlib import crc32

from msgspec.structs import astuple

from realmkeep import keys
from realmkeep.callables import name_of
from realmkeep.errors import RealmkeepError
from realmkeep.keeping.writing.economy import BALANCED, Minted
from realmkeep.keeping.writing.journal_entries import (
    CREATED,
    INTERVAL,
    MENDED,
    RELEASE,
    CommitEntry,
    GapEntry,
    RecordChange,
    SnapshotEntry,
    as_json,
    difference,
    encode_entry,
)
from realmkeep.records import held_by
from realmkeep.storage import Append, Committed, Transaction

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep.clock import Clock
    from realmkeep.config import JournalConfig
    from realmkeep.keeping.live.counters import Counters
    from realmkeep.keeping.live.op_ring import Op
    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.writing.economy import Balance
    from realmkeep.keys import RecordKeys
    from realmkeep.records import Fork, Held, Record
    from realmkeep.storage import Effect, Storage

log = logging.getLogger("realmkeep.keeping")

ENTRY_BYTES_MAX: Final = 128 * 1024  # twice the largest record; a longer entry has the names of its fields alone
NOTE_S: Final = 1.0  # how soon a gap is noted
PAGE_ENTRIES: Final = 500  # of a list, read at once
INBOX: Final = ":inbox"


class Described(NamedTuple):
    """The changes of a commit, as far as they are known before it is staged.

    Attributes:
        fn: The name of its function.
        fields: The changed fields of each record; None for a record whose class is not journaled.
        balance: The economy of the commit.
    """

    fn: str
    fields: list[dict[str, Any] | None]
    balance: Balance


class Beside(NamedTuple):
    """The parts of a commit beside its records' changes: the attributes of its `Tx` of the same names."""

    reason: str
    opened: Sequence[str]
    effects: Sequence[Effect]
    created: Sequence[tuple[RecordKeys, bytes]]
    deleted: Sequence[RecordKeys]


class Journal:
    """Writes the entries of one keeper.

    Args:
        storage: The store.
        clock: The clock.
        name: The server's name.
        counters: Counts the missing entries.
        config: Its limits; None: the journal is off, and nothing is written.

    Attributes:
        key: The key of the list.
        is_on: Entries are written.
        appended_bytes: Of all entries written so far.
        bytes_max: The bytes that may wait for the archiver.
        archived_us: The wall time at which nothing was left for the archiver; 0 before.
        full_since_us: The wall time at which the backlog became too long; 0 while it is not.
    """

    def __init__(
        self, storage: Storage, clock: Clock, name: str, counters: Counters, config: JournalConfig | None
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._counters = counters
        self.bytes_max = 0 if config is None else config.backlog_bytes_max
        self._interval_s = 0.0 if config is None else config.snapshot_interval_s
        self.key = keys.server_journal(name)
        self.is_on = config is not None
        self._run = self._seq = 0
        self.appended_bytes = self._archived_bytes = 0
        self.full_since_us = self.archived_us = 0
        self._missed = 0
        self._notes: list[GapEntry] = []

    async def open(self, run: int) -> None:
        """Begin a run: measure the entries that an earlier run left.

        Args:
            run: The number of the run, higher than that of every run before.

        Raises:
            StorageError: The store cannot be reached.
        """
        self._run, start = run, 0
        while page := await self._storage.load_list(self.key, start=start, count=PAGE_ENTRIES):
            self.appended_bytes += sum(map(len, page))
            start += len(page)

    def write_for(self, server: str) -> None:
        """Write into the list of another server from now on: a command has no archiver of its own."""
        self.key = keys.server_journal(server)

    @property
    def backlog_bytes(self) -> int:
        """The bytes that wait for the archiver, at most."""
        return max(0, self.appended_bytes - self._archived_bytes)  # a command may have written into the list, too

    def archived(self, size: int) -> None:
        """Note that the archiver has dropped entries of `size` bytes."""
        self._archived_bytes += size
        self._look_for_room()

    def archived_until(self, appended_bytes: int) -> None:
        """Note that all entries are archived that were written while `appended_bytes` had the given value."""
        self._archived_bytes, self.archived_us = appended_bytes, self._clock.wall_us()
        self._look_for_room()

    def _look_for_room(self) -> None:
        if self.full_since_us and self.backlog_bytes <= self.bytes_max // 2:
            log.warning("the journal of %s goes on; %d entries are missing", self.key, self._missed)
            self._note_gap(self._missed)
            self.full_since_us = self._missed = 0

    def _note_gap(self, missed: int) -> None:
        self._seq += 1
        self._notes.append(GapEntry(self._run, self._seq, self._clock.wall_us(), self.full_since_us, missed))

    async def keep_noting(self) -> None:
        """Write an entry for the beginning of each gap, and one for its end, for ever."""
        while True:
            await self._clock.sleep(NOTE_S)
            while self._notes:
                stored = encode_entry(self._notes[0])
                try:
                    (outcome,) = await self._storage.write([Transaction((), (Append(self.key, stored),))])
                except RealmkeepError as error:
                    log.info("a gap of the journal is noted later: %s", error)
                    break
                if not isinstance(outcome, Committed):  # readers know an entry that was written twice by its number
                    break
                self.appended_bytes += len(stored)
                del self._notes[0]

    def describe(self, fn: object, forks: Sequence[Fork[Any]], balance: Balance) -> Described:
        """Take the changes of a commit, right after its function.

        Args:
            fn: The function.
            forks: The former state of each record.
            balance: The economy of the commit.
        """
        return Described(
            name_of(fn),
            [_changed_fields(fork) if fork.record.__realmkeep__.journal else None for fork in forks],
            balance,
        )

    def commit_entry(
        self,
        told: Described,
        advanced: Sequence[tuple[RecordKeys, int]],
        ops: Sequence[Op | None],
        beside: Beside | None,
        now_us: int,
    ) -> Append | None:
        """The addition to the journal for a commit; None if it concerns no journaled class, or in a gap.

        Args:
            told: Its changes.
            advanced: Each record, and the revision that the commit leaves.
            ops: The operations of the records, from the first on.
            beside: Its other parts; None if it has none.
            now_us: Wall time.
        """
        records = tuple(
            [
                RecordChange(
                    keys_of_record.record,
                    revision,
                    op.id if at < len(ops) and (op := ops[at]) is not None else 0,
                    fields,
                )
                for at, ((keys_of_record, revision), fields) in enumerate(zip(advanced, told.fields, strict=True))
                if fields is not None
            ]
        )
        if not records:
            return None
        self._seq += 1
        entry = CommitEntry(self._run, self._seq, now_us, told.fn, records)
        if told.balance is not BALANCED:
            entry.minted, entry.unbalanced, entry.doubled = told.balance
        if beside is not None:
            _add_effects(entry, beside)
        return self._append(_encoded(entry))

    def snapshot(
        self, session: Session[Any], stored: bytes, revision: int, now_us: int, now_s: float, *, releases: bool
    ) -> Append | None:
        """The addition for a write of one record: a snapshot if the record is released, or had none for an interval."""
        if not self.is_on or not session.cls.__realmkeep__.journal or not (releases or now_s >= session.snapshot_due_s):
            return None
        session.snapshot_due_s = self.next_snapshot_s(session.keys.record, now_s)
        return self._whole(session.keys.record, stored, revision, now_us, RELEASE if releases else INTERVAL)

    def new_record(self, record: Record, key: str, stored: bytes, revision: int) -> Append | None:
        """The addition for a record that a login creates, with what it holds; None in a gap, and without a journal."""
        if not self.is_on:
            return None
        held = held_by(record.__realmkeep__, record)
        minted = (
            ()
            if held is None
            else tuple(Minted(name, amount, CREATED) for name, amount in held.amounts.items() if amount)
        )
        minted += () if held is None else tuple(Minted("", 1, CREATED, serial) for serial in held.serials)
        return self._whole(key, stored, revision, self._clock.wall_us(), CREATED, minted)

    def replaced(self, key: str, stored: bytes, revision: int) -> Append | None:
        """The addition for a record whose bytes an operator replaced; None in a gap, and without a journal."""
        return self._whole(key, stored, revision, self._clock.wall_us(), MENDED) if self.is_on else None

    def deleted(
        self, key: str, *, fn: str, reason: str, held: Sequence[Held | None] = (), because: str = ""
    ) -> Append | None:
        """The addition for a record that is deleted without a commit; None in a gap, and without a journal.

        Args:
            key: The record's key.
            fn: The name of the act, in the place of a function's.
            reason: The reason of the act.
            held: The contents that go with it; all of it is destroyed.
            because: The reason of that, by which an audit sums up.
        """
        if not self.is_on:
            return None
        self._seq += 1
        entry = CommitEntry(self._run, self._seq, self._clock.wall_us(), fn, (), reason=reason, deleted=(key,))
        for each in held:
            if each is not None:
                amounts = [Minted(name, -amount, because) for name, amount in each.amounts.items() if amount]
                entry.minted += (*amounts, *(Minted("", -1, because, serial) for serial in each.serials))
        return self._append(_encoded(entry))

    def _whole(
        self, key: str, stored: bytes, revision: int, now_us: int, why: str, minted: tuple[Minted, ...] = ()
    ) -> Append | None:
        """The addition for a whole record; None in a gap."""
        self._seq += 1
        return self._append(
            encode_entry(SnapshotEntry(self._run, self._seq, now_us, key, revision, why, as_json(stored), minted))
        )

    def next_snapshot_s(self, key: str, now_s: float) -> float:
        """When a record is due for its next snapshot: records that came to life at one moment are spread out."""
        return now_s + self._interval_s * (0.5 + crc32(key.encode()) / 2**33)

    def _append(self, entry: bytes) -> Append | None:
        if not self.full_since_us:
            if self.backlog_bytes + len(entry) <= self.bytes_max:
                self.appended_bytes += len(entry)
                return Append(self.key, entry)
            self.full_since_us = self._clock.wall_us()
            log.error("the journal %s has a gap from now on: its archive does not keep up", self.key)
            self._note_gap(0)
        self._missed += 1
        self._counters.journal_missed += 1
        return None


def _changed_fields(fork: Fork[Any]) -> dict[str, Any]:
    record, before = fork.record, fork.values
    blueprint, after = record.__blueprint__, astuple(record)
    names, containers = blueprint.names, blueprint.containers
    changed: dict[str, Any] = {}
    for at in compress(
        range(len(names)), map(is_not, before, after)
    ):  # at the speed of C for the many that are the same
        if at not in containers and before[at] != after[at]:
            changed[names[at]] = (before[at], after[at])
    for at, contents in zip(containers, fork.contents, strict=True):  # a container may be changed in its place
        if contents != after[at]:
            changed[names[at]] = difference(contents, after[at])
    return changed


def _add_effects(entry: CommitEntry, tx: Beside) -> None:
    entry.reason = tx.reason
    entry.opened = tuple(tx.opened)
    entry.letters = tuple(
        (effect.key.removesuffix(INBOX), as_json(effect.value))
        for effect in tx.effects
        if isinstance(effect, Append) and effect.key.endswith(INBOX)
    )
    entry.created = tuple((each.record, as_json(blob)) for each, blob in tx.created)
    entry.deleted = tuple(each.record for each in tx.deleted)


def _encoded(entry: CommitEntry) -> bytes:
    """Encode an entry; too long a one without its values."""
    try:
        encoded = encode_entry(entry)
        if len(encoded) <= ENTRY_BYTES_MAX:
            return encoded
    except (TypeError, ValueError, OverflowError) as error:  # a value before the commit that could not be stored either
        log.warning("an entry of the journal is cut: %s", error)
    for each in entry.records:
        each.fields = dict.fromkeys(each.fields)
    entry.cut = True
    entry.letters = tuple((to, None) for to, _ in entry.letters)
    entry.created = tuple((key, None) for key, _ in entry.created)
    return encode_entry(entry)
