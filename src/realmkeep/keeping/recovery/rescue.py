"""The replay of a rescue file: each write that a shutdown could not deliver is applied after all, where it still fits.

Every line is a transaction as it stood in the queue, with its guards on owner and revision. So a line happens once, however
often it is replayed, and a trade stays atomic. A record that another server has claimed since is left as it is, and so is
every line that was built on a line that is left.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from realmkeep import keys
from realmkeep.errors import StorageMisconfigured, StorageUnavailable
from realmkeep.keeping.letters.notices import send_notices
from realmkeep.keeping.ownership.lease import Owner
from realmkeep.keeping.ownership.revisions import stored_number
from realmkeep.keeping.recovery.rescue_file import Damaged, Line, Undelivered, Unsavable, read_lines
from realmkeep.keeping.recovery.resolver import is_final
from realmkeep.keeping.recovery.verdict import Verdict, Wrote, verdict
from realmkeep.keeping.writing.write_queue import BATCH_WRITES
from realmkeep.keys import SERVER_STORE_ID, RecordKeys
from realmkeep.storage import Committed, Delete, Failed, Guard, Put, Refused, Transaction, load_each

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
    from pathlib import Path

    from realmkeep.storage import Storage

OWNER: Final = ":owner"
UPDATED: Final = ":updated"


class LeftBehind(msgspec.Struct, frozen=True):
    """A record with a line that is not in the store.

    Attributes:
        record: Its key.
        line: The number of its first such line in the file.
        why: The reason for which that line was left.
    """

    record: str
    line: int
    why: str


class RescueReport(msgspec.Struct, frozen=True):
    """The fate of the records of a rescue file. Each is in one of the first three, by the worst of its lines.

    Attributes:
        restored: Records that the replay has written.
        already_there: Records that the store had already: an answer was lost, or the file was restored before.
        left: Records that stay as the store has them, because other servers changed them or own them now.
        not_restorable: Records with a last state that could not be encoded; an operator can read it in that line.
    """

    restored: tuple[str, ...]
    already_there: tuple[str, ...]
    left: tuple[LeftBehind, ...]
    not_restorable: tuple[LeftBehind, ...]

    @property
    def clean(self) -> bool:
        """Whether every record is in the store as the file has it."""
        return not self.left and not self.not_restorable


class Restored(NamedTuple):
    """The fate of a rescue file.

    Attributes:
        report: The fate of its records.
        left: The records and lines that were not delivered, damaged lines among them.
        unsettled: The numbers of the lines that were not delivered, or were meant for another store.
        foreign: The number of lines that were meant for another store.
        settled: The number of lines that are in the store.
    """

    report: RescueReport
    left: tuple[LeftBehind, ...]
    unsettled: frozenset[int]
    foreign: int
    settled: int


async def restore_rescued(storage: Storage, path: Path, *, from_log: bool = False) -> RescueReport:
    """Deliver the lines of a rescue file; a second time changes nothing.

    Every line is read and checked before the first is sent. If the store goes away, the lines delivered so far stay delivered.

    Args:
        storage: The store that it was meant for; connected or not.
        path: The file.
        from_log: The file is a log, with rescue lines among other entries.

    Raises:
        Corrupt: A line is damaged, cut off, or of another format; nothing was changed.
        StorageMisconfigured: A line was meant for another store; nothing was changed.
        StorageUnavailable: The store went away; restore the file again.
        StorageError: The store cannot be opened or read; as above.
        OSError: The file cannot be read.
    """
    survey = _Survey()
    async for lines in _batches(path, from_log=from_log):
        survey.look_at(lines)
    await storage.connect()
    await _check_same_store(storage, path, survey.store_ids)
    replay = _Replay(storage, path, survey.ends)
    async for lines in _batches(path, from_log=from_log):
        await replay.deliver(lines)
    await storage.flush()
    return replay.report()


async def restore(storage: Storage, path: Path, store_id: str) -> Restored:
    """Deliver as `restore_rescued` does, but only the lines that were meant for this store.

    Args:
        storage: Connected.
        path: The file.
        store_id: The identity of the store.

    Raises:
        Corrupt: A line is of another format: another version can deliver it, so nothing was changed.
        StorageError: The store went away.
        OSError: The file cannot be read.
    """
    survey, foreign, damaged, count = _Survey(), set[int](), list[LeftBehind](), 0
    async for lines in _batches(path, keep_damaged=True):
        damaged += [LeftBehind("?", n, each.why) for n, each in lines if isinstance(each, Damaged)]
        foreign.update(number for number, each in lines if each.store_id not in {store_id, ""})
        survey.look_at([line for line in lines if line.number not in foreign])
        count += len(lines)
    replay = _Replay(storage, path, survey.ends)
    async for lines in _batches(path, keep_damaged=True):
        await replay.deliver([line for line in lines if line.number not in foreign])
    await storage.flush()
    unsettled = frozenset({*foreign, *replay.unsettled, *(each.line for each in damaged)})
    report = replay.report()
    left = (*report.left, *report.not_restorable, *damaged)
    return Restored(report, left, unsettled, len(foreign), settled=count - len(unsettled))


async def _batches(path: Path, *, from_log: bool = False, keep_damaged: bool = False) -> AsyncGenerator[list[Line]]:
    with closing(read_lines(path, from_log=from_log, keep_damaged=keep_damaged)) as lines:
        while batch := await asyncio.to_thread(lambda: list(islice(lines, BATCH_WRITES))):
            yield batch


async def _check_same_store(storage: Storage, path: Path, store_ids: dict[str, int]) -> None:
    if not store_ids:
        return
    found = (await storage.load(SERVER_STORE_ID) or b"").decode(errors="replace")
    for store_id, number in store_ids.items():
        if store_id != found:
            raise StorageMisconfigured(
                f"{path}, line {number}: it was meant for another store; nothing was changed",
                hint="name the store of the server that wrote it",
            )


class _Part(NamedTuple):
    """The part of one record in a write."""

    owner_key: str
    owner: bytes
    leaves: int
    releases: bool

    @property
    def claim(self) -> tuple[str, bytes]:
        """The session: owner key and its value."""
        return self.owner_key, self.owner

    @property
    def keys(self) -> tuple[str, str]:
        """The keys of owner and revision."""
        return self.owner_key, self.owner_key.removesuffix(OWNER) + UPDATED


def _revisions(transaction: Transaction) -> dict[str, bytes]:
    """The revisions that a write leaves, as they are stored."""
    puts = [effect for effect in transaction.effects if isinstance(effect, Put)]
    return {put.key: put.value for put in puts if put.key.endswith(UPDATED)}


def _parts(transaction: Transaction) -> Iterator[_Part]:
    revisions = _revisions(transaction)
    deleted = {effect.key for effect in transaction.effects if isinstance(effect, Delete)}
    for guard in transaction.guards:
        if guard.expected is not None and guard.key.endswith(OWNER):
            leaves = stored_number(revisions.get(guard.key.removesuffix(OWNER) + UPDATED))
            if leaves:
                yield _Part(guard.key, guard.expected, leaves, guard.key in deleted)


def _tombstones(transaction: Transaction) -> list[Put]:
    """The revisions that a write leaves of the records that it deletes."""
    return [
        effect
        for effect in transaction.effects
        if isinstance(effect, Put) and effect.expire_s is not None and effect.key.endswith(UPDATED)
    ]


class _Survey:
    """The facts about the whole file that its replay needs.

    Attributes:
        ends: The revision with which each session releases its record, if it does.
        store_ids: The stores that lines were meant for, each with its first line.
    """

    def __init__(self) -> None:
        self.ends: dict[tuple[str, bytes], int] = {}
        self.store_ids: dict[str, int] = {}

    def look_at(self, lines: Sequence[Line]) -> None:
        for number, rescued in lines:
            if isinstance(rescued, Undelivered):
                self.store_ids.setdefault(rescued.store_id, number)
                self.ends.update({part.claim: part.leaves for part in _parts(rescued.transaction) if part.releases})


class _Replay:
    """Sends the lines in their order, and notes their fate."""

    def __init__(self, storage: Storage, path: Path, ends: dict[tuple[str, bytes], int]) -> None:
        self._storage = storage
        self._path = path
        self._ends = ends
        self._restored: dict[str, None] = {}
        self._there: dict[str, None] = {}
        self._left: dict[str, LeftBehind] = {}
        self._unsavable: dict[str, LeftBehind] = {}
        self._broken: dict[tuple[str, bytes], int] = {}
        self._revisions: dict[str, bytes] = {}
        self.unsettled: set[int] = set()

    async def deliver(self, lines: Sequence[Line]) -> None:
        """Replay some lines.

        Raises:
            StorageUnavailable: The store did not take them.
            StorageError: It cannot be read.
        """
        writes: list[tuple[int, Undelivered]] = []
        for number, rescued in lines:
            if isinstance(rescued, Unsavable):
                self._unsavable[rescued.record] = LeftBehind(rescued.record, number, rescued.why)
                self.unsettled.add(number)
            elif isinstance(rescued, Damaged):
                continue
            elif deleted := _tombstones(rescued.transaction):
                await self._send(writes)  # the guard is made from the state that they leave
                guards = [*rescued.transaction.guards, *[await self._unchanged(each) for each in deleted]]
                transaction = Transaction(guards, rescued.transaction.effects)
                await self._send([(number, rescued._replace(transaction=transaction))])
                writes = []
            else:
                writes.append((number, rescued))
        await self._send(writes)

    async def _unchanged(self, tombstone: Put) -> Guard:
        """A guard that holds if a record is unchanged since the commit that was to delete it.

        The record had no owner, so only its revision tells: it is earlier than the commit, or of a line of this file.
        """
        decided_us = (stored_number(tombstone.value) or 0) - round((tombstone.expire_s or 0) * 1_000_000)
        (found,) = await load_each(self._storage, [tombstone.key])
        revision = stored_number(found)
        is_earlier = revision is not None and revision <= decided_us
        is_as_it_was = is_earlier or found == self._revisions.get(tombstone.key)
        return Guard(tombstone.key, found if is_as_it_was else b"%d" % decided_us)

    async def _send(self, writes: Sequence[tuple[int, Undelivered]]) -> None:
        outcomes = await self._storage.write([rescued.transaction for _, rescued in writes])
        refused: list[tuple[int, Undelivered, Refused | Failed]] = []
        letters: dict[str, None] = {}
        for (number, rescued), outcome in zip(writes, outcomes, strict=True):
            if isinstance(outcome, Committed):
                self._restored.update(dict.fromkeys(rescued.records))
                self._revisions.update(_revisions(rescued.transaction))
                letters.update(dict.fromkeys(rescued.letters_to))
            elif isinstance(outcome, Refused) or (isinstance(outcome, Failed) and is_final(outcome.error)):
                refused.append((number, rescued, outcome))
            else:
                raise StorageUnavailable(
                    f"{self._path}, line {number}: the store did not take it: {outcome.error}",
                    hint="nothing is lost: restore the file again, it goes on where it stopped",
                )
        await self._look_why(refused)
        await send_notices(self._storage, [_record_keys(key) for key in letters])

    async def _look_why(self, refused: list[tuple[int, Undelivered, Refused | Failed]]) -> None:
        """Decide each refused write from owner and revision of its records: the store has it already, or it is left."""
        parts = [list(_parts(rescued.transaction)) for _, rescued, _ in refused]
        asked = list(dict.fromkeys(key for some in parts for part in some for key in part.keys))
        held = dict(zip(asked, await load_each(self._storage, asked), strict=True))
        for (number, rescued, outcome), some in zip(refused, parts, strict=True):
            if any(self._fate(part, held) is Verdict.KEPT for part in some):
                self._there.update(dict.fromkeys(rescued.records))
                self._revisions.update(_revisions(rescued.transaction))
                continue
            self.unsettled.add(number)
            built_on = [self._broken[part.claim] for part in some if part.claim in self._broken]
            why = f"it was built on line {min(built_on)}, which is left" if built_on else _why(outcome)
            if rescued.letters_to:
                why += f"; a letter to {', '.join(rescued.letters_to)} is not sent"
            for record in rescued.records:
                self._left.setdefault(record, LeftBehind(record, number, why))
            for part in some:
                self._broken.setdefault(part.claim, number)

    def _fate(self, part: _Part, held: Mapping[str, bytes | None]) -> Verdict:
        owner, updated = (held[key] for key in part.keys)
        return verdict(owner, stored_number(updated), Wrote(part.owner, part.leaves, self._ends.get(part.claim)))

    def report(self) -> RescueReport:
        restored = [record for record in self._restored if record not in self._left]
        there = [record for record in self._there if record not in self._left and record not in self._restored]
        return RescueReport(tuple(restored), tuple(there), tuple(self._left.values()), tuple(self._unsavable.values()))


def _why(outcome: Refused | Failed) -> str:
    if isinstance(outcome, Failed):
        return outcome.error.message
    guard, found = outcome.guard, outcome.found
    if guard.key.endswith(OWNER):
        record = guard.key.removesuffix(OWNER)
        owner = Owner.read(found, guard.key)
        if owner is not None:
            return f"{record} is owned by {owner.server} now"
        return f"{record} was released since" if found is None else f"{guard.key} does not name an owner"
    if isinstance(guard, Guard) and guard.key.endswith(UPDATED):
        record = guard.key.removesuffix(UPDATED)
        revision = stored_number(found)
        if revision is None:
            return f"{guard.key} is no revision"
        went_on = revision > (stored_number(guard.expected) or 0)
        return f"{record} went on since" if went_on else f"the store has lost what it acknowledged of {record}"
    return f"{guard.key} exists by now"


def _record_keys(record: str) -> RecordKeys:
    parsed = keys.parse(record)
    return RecordKeys(parsed.kind, parsed.id, parsed.suffix)
