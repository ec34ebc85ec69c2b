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
from realmkeep.keeping.recovery.rescue_file import Damaged, Undelivered, Unsavable, read_lines
from realmkeep.keeping.recovery.resolver import is_final
from realmkeep.keeping.recovery.stored_ownership import read_ownership
from realmkeep.keeping.recovery.verdict import Verdict, Wrote
from realmkeep.keys import SERVER_STORE_ID, RecordKeys
from realmkeep.storage import Committed, Delete, Failed, Guard, Put, Refused, Transaction, load_each

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from pathlib import Path

    from realmkeep.keeping.recovery.rescue_file import Line
    from realmkeep.keeping.recovery.stored_ownership import StoredOwnership
    from realmkeep.storage import Storage

OWNER: Final = ":owner"
UPDATED: Final = ":updated"
LINES_AT_ONCE: Final = 128


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
    return (await _Replay(storage, path, from_log=from_log).run()).report


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
    return await _Replay(storage, path, store_id=store_id).run()


def _revisions(transaction: Transaction) -> dict[str, bytes]:
    """The revisions that a write leaves, as they are stored."""
    puts = [effect for effect in transaction.effects if isinstance(effect, Put)]
    return {put.key: put.value for put in puts if put.key.endswith(UPDATED)}


def _leaves(transaction: Transaction) -> dict[Guard, int]:
    """The revision that a write leaves of each record, by the guard on the claim of its session."""
    revisions = _revisions(transaction)
    claims = [guard for guard in transaction.guards if guard.expected is not None and guard.key.endswith(OWNER)]
    leaves = {claim: stored_number(revisions.get(claim.key.removesuffix(OWNER) + UPDATED)) for claim in claims}
    return {claim: revision for claim, revision in leaves.items() if revision}


def _tombstones(transaction: Transaction) -> list[Put]:
    """The revisions that a write leaves of the records that it deletes."""
    return [
        effect
        for effect in transaction.effects
        if isinstance(effect, Put) and effect.expire_s is not None and effect.key.endswith(UPDATED)
    ]


class _Replay:
    """A file in two passes: the first reads and checks all of it, the second sends its writes in their order.

    Args:
        storage: The store.
        path: The file.
        store_id: Only the lines for this store count, and damaged ones are passed over; None: every line must be intact.
        from_log: The file is a log.
    """

    def __init__(self, storage: Storage, path: Path, *, store_id: str | None = None, from_log: bool = False) -> None:
        self._storage = storage
        self._path = path
        self._store_id = store_id
        self._from_log = from_log
        self._store_ids: dict[str, int] = {}  # of the writes, each with its first line
        self._ends: dict[Guard, int] = {}  # the revisions with which sessions release their records
        self._damaged: list[LeftBehind] = []
        self._unsavable: dict[str, LeftBehind] = {}
        self._restored: dict[str, None] = {}
        self._there: dict[str, None] = {}
        self._left: dict[str, LeftBehind] = {}
        self._broken: dict[Guard, int] = {}  # the first line that is left of each session
        self._revisions: dict[str, bytes] = {}
        self._unsettled: set[int] = set()
        self._foreign = self._count = 0

    async def run(self) -> Restored:
        async for lines in self._batches():
            self._survey(lines)
        await self._storage.connect()
        if self._store_id is None:
            await self._check_same_store()
        async for lines in self._batches():
            await self._deliver(lines)
        await self._storage.flush()
        report = self._report()
        left = (*report.left, *report.not_restorable, *self._damaged)
        settled = self._count - len(self._unsettled)
        return Restored(report, left, frozenset(self._unsettled), self._foreign, settled)

    async def _batches(self) -> AsyncGenerator[list[Line]]:
        keep_damaged = self._store_id is not None
        with closing(read_lines(self._path, from_log=self._from_log, keep_damaged=keep_damaged)) as lines:
            while batch := await asyncio.to_thread(lambda: list(islice(lines, LINES_AT_ONCE))):
                yield batch

    def _survey(self, lines: Sequence[Line]) -> None:
        self._count += len(lines)
        for number, rescued in lines:
            if self._store_id is not None and rescued.store_id not in {self._store_id, ""}:
                self._foreign += 1
            elif isinstance(rescued, Damaged):
                self._damaged.append(LeftBehind("?", number, rescued.why))
            elif isinstance(rescued, Unsavable):
                self._unsavable[rescued.record] = LeftBehind(rescued.record, number, rescued.why)
            else:
                self._store_ids.setdefault(rescued.store_id, number)
                leaves, effects = _leaves(rescued.transaction), rescued.transaction.effects
                self._ends.update({claim: end for claim, end in leaves.items() if Delete(claim.key) in effects})
                continue
            self._unsettled.add(number)

    async def _check_same_store(self) -> None:
        found = (await self._storage.load(SERVER_STORE_ID) or b"").decode(errors="replace")
        for store_id, number in self._store_ids.items():
            if store_id != found:
                raise StorageMisconfigured(
                    f"{self._path}, line {number}: it was meant for another store; nothing was changed",
                    hint="name the store of the server that wrote it",
                )

    async def _deliver(self, lines: Sequence[Line]) -> None:
        writes: list[tuple[int, Undelivered]] = []
        for number, rescued in lines:
            if number in self._unsettled or not isinstance(rescued, Undelivered):
                continue
            write = rescued
            if deleted := _tombstones(rescued.transaction):
                await self._send(writes)  # the guards are made from the state that the earlier writes leave
                writes = []
                guards = [*rescued.transaction.guards, *[await self._unchanged(each) for each in deleted]]
                write = rescued._replace(transaction=Transaction(guards, rescued.transaction.effects))
            writes.append((number, write))
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
            else:  # no later batch may be sent before this line is decided
                raise StorageUnavailable(
                    f"{self._path}, line {number}: the store did not take it: {outcome.error}",
                    hint="nothing is lost: restore the file again, it goes on where it stopped",
                )
        await self._look_why(refused)
        await send_notices(self._storage, [_record_keys(key) for key in letters])

    async def _look_why(self, refused: list[tuple[int, Undelivered, Refused | Failed]]) -> None:
        """Decide each refused write from owner and revision of its records: the store has it already, or it is left."""
        parts = [_leaves(rescued.transaction) for _, rescued, _ in refused]
        stored = await read_ownership(self._storage, [_record_keys(claim.key) for some in parts for claim in some])
        for (number, rescued, outcome), some in zip(refused, parts, strict=True):
            # A transaction is atomic: one record that has it tells that all of them have it.
            if any(self._is_kept(claim, leaves, stored) for claim, leaves in some.items()):
                self._there.update(dict.fromkeys(rescued.records))
                self._revisions.update(_revisions(rescued.transaction))
                continue
            self._unsettled.add(number)
            built_on = [self._broken[claim] for claim in some if claim in self._broken]
            why = f"it was built on line {min(built_on)}, which is left" if built_on else _why(outcome)
            if rescued.letters_to:
                why += f"; a letter to {', '.join(rescued.letters_to)} is not sent"
            for record in rescued.records:
                self._left.setdefault(record, LeftBehind(record, number, why))
            for claim in some:
                self._broken.setdefault(claim, number)

    def _is_kept(self, claim: Guard, leaves: int, stored: Mapping[str, StoredOwnership]) -> bool:
        # A session may have released its record in a later line: the store has all of its writes if it has that one.
        wrote = Wrote(claim.expected or b"", leaves, self._ends.get(claim))
        return stored[claim.key.removesuffix(OWNER)].verdict(wrote) is Verdict.KEPT

    def _report(self) -> RescueReport:
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


def _record_keys(key: str) -> RecordKeys:
    parsed = keys.parse(key)
    return RecordKeys(parsed.kind, parsed.id, parsed.suffix)
