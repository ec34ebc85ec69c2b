"""A loss of the store: it holds an older revision than it acknowledged.

A store with a known loss window (fsync once a second) may lose writes in a crash, and the server restores them. A store that
promised to lose nothing has broken its promise, and writing stops until an operator looks.

A crash takes the end of the store's log, and no part from its middle. So the lost writes of the tail are applied again in
their order, each of them whole; then the live sessions that are still behind are rewritten. At every moment between, the
store holds a state that it had before, and another crash, of the store or of this server, tears nothing. The queue follows:
its first write of each record is guarded with the revision that the recovery left (see `Resolver`).
"""

from __future__ import annotations

import logging
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from realmkeep.errors import RecordError, StorageUnavailable, StoreWentBackwards, WrongType
from realmkeep.keeping.recovery.inbox_heads import InboxHeads
from realmkeep.keeping.recovery.stored_ownership import StoredOwnership, acknowledged, read_ownership
from realmkeep.keeping.recovery.tail import Entry, Tail
from realmkeep.keeping.recovery.verdict import Verdict
from realmkeep.keys import SERVER_STORE_ID
from realmkeep.storage import Append, Committed, Delete, DropFirst, Failed, Guard, Put, Refused, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from realmkeep.clock import Clock
    from realmkeep.errors import RealmkeepError
    from realmkeep.keeping.letters.inboxes import InboxDrainer
    from realmkeep.keeping.live.counters import Counters
    from realmkeep.keeping.live.op_ring import OpRing
    from realmkeep.keeping.live.registry import SessionRegistry
    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.ownership.loss_probe import LossProbe
    from realmkeep.keeping.writing.staging import StagedWrite, Stager
    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Storage, WriteOutcome

log = logging.getLogger(__name__)

ENTRIES_AT_ONCE: Final = 128  # the size of a full batch of the queue
FOREIGN: Final = "its record was changed in the store by a client that does not own it"
CLAIMED: Final = "claimed while the store had lost its ownership"


class Recovered(NamedTuple):
    """The state of the store that the queue follows after a recovery.

    Attributes:
        stored: Owner and revision of every record of this server, as the recovery left them. They are not read anew: if the
            store loses data once more, its guards must refuse the writes of the queue.
        heads: The heads of the inboxes from which writes of the queue may drop letters that came back.
    """

    stored: dict[str, StoredOwnership]
    heads: InboxHeads


class StoreLoss:
    """Notices that a store lost acknowledged writes, and restores them.

    Args:
        storage: The store.
        clock: The clock.
        stager: Encodes sessions.
        probe: Tells whether the store holds the newest acknowledged writes.
        sessions: The live sessions.
        inboxes: Sends the notices of restored letters.
        counters: Counts the records.
        heal: Whether to write over a store that had promised to lose nothing.

    Attributes:
        tail: The acknowledged writes that a crash of the store may still take.
        store_id: The identity of the store when the keeper opened, or an operator last allowed to write over it.
        allowed: An operator allowed to write over a store that had promised to lose nothing.
        halted: The reason for which writing stopped; empty if it did not.
    """

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        stager: Stager,
        probe: LossProbe,
        sessions: SessionRegistry,
        inboxes: InboxDrainer,
        counters: Counters,
        *,
        heal: bool,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._stager = stager
        self._probe = probe
        self._sessions = sessions
        self._inboxes = inboxes
        self._counters = counters
        self._unfinished = False
        self._unwritable: set[Session[Any]] = set()  # the last recovery could not write them
        self._rewritten: set[str] = set()
        self._torn: dict[str, None] = {}
        self._always = self.allowed = heal
        self._may_lose, self._asked_at_s = True, 0.0  # no heartbeat has ever left this time
        self.tail = Tail()
        self.halted = ""

    @property
    def store_id(self) -> bytes:
        """The identity of the store, which the probe compares."""
        return self._probe.store_id

    @store_id.setter
    def store_id(self, store_id: bytes) -> None:
        self._probe.store_id = store_id

    def remember(self, write: StagedWrite) -> None:
        """Keep an acknowledged commit if a crash could tear it; memory restores a commit of one record, but not its entry."""
        can_tear = len(write.members) > 1 or write.has_extra
        if not can_tear and not (write.has_entry and self._store_may_lose):
            return
        self._append(write)
        self.tail.forget_safe(self._probe.safe_s)

    def released(self, write: StagedWrite) -> None:
        """Keep an acknowledged release if the store may lose it: its session is not in memory any more."""
        if self._store_may_lose:
            self.tail.forget_safe(self._probe.safe_s, at_once=len(self.tail))
            self._append(write)

    def _append(self, write: StagedWrite) -> None:
        self.tail.append(Entry.of(write, self._clock.monotonic_s()), is_safe=not self._store_may_lose)

    @property
    def _store_may_lose(self) -> bool:
        """Whether the store has a loss window; without one a write is safe when it is acknowledged.

        A backend puts its capability together anew for each question, so it is asked once a heartbeat and not at each commit.
        """
        if self._asked_at_s != (safe_s := self._probe.safe_s):
            self._asked_at_s = safe_s
            self._may_lose = self._storage.capability.loss_window_s != 0
        return self._may_lose

    def ring_of(self, record_key: str) -> OpRing | None:
        """The ring of a record, with every letter that it opened of late; None if this server has none."""
        session = self._sessions.get(record_key)
        return session.ring if session is not None else self.tail.released_ring(record_key)

    async def look(self) -> tuple[list[Session[Any]], tuple[str, int] | None]:
        """Compare every live and every released record of this server with the store.

        Returns:
            The sessions with a record that is not as acknowledged; and the revision key of one lost record with its acknowledged
            revision, None if no record is lost.

        Raises:
            StorageError: The store cannot be read.
        """
        sessions, released = list(self._sessions.live()), self.tail.released
        stored = await self._read(sessions, released)
        fates = {session: stored[session.keys.record].verdict(acknowledged(session)) for session in sessions}
        uneasy = [session for session, fate in fates.items() if fate is not Verdict.KEPT]
        behind = [
            (session.keys.updated, session.durable_revision)
            for session, fate in fates.items()
            if fate.is_behind and session not in self._unwritable
        ]
        behind += [
            (part.keys.updated, part.leaves)
            for entry in released
            for part in entry.parts
            if _is_older(stored[part.keys.record], part.leaves)
        ]
        return uneasy, behind[0] if behind else None

    async def is_suspected(self, *, asked: bool) -> bool:
        """Whether there is a loss beyond the writes in trouble.

        Args:
            asked: Compare every record with the store; otherwise only an earlier, interrupted recovery counts.

        Raises:
            StorageError: The store cannot be read.
        """
        if self._unfinished or not asked:
            return self._unfinished
        _, behind = await self.look()
        return behind is not None

    async def recover(self, queued: Callable[[], Iterable[StagedWrite]]) -> Recovered:
        """Restore every lost write that the queue is not about to restore itself.

        Args:
            queued: Lists the writes that are not acknowledged.

        Raises:
            StoreWentBackwards: The store had promised to lose nothing, and `allowed` is not set.
            StorageError: The store cannot be read or written now; call again.
        """
        await self._check_allowed()
        self._unfinished = True
        self._unwritable.clear()
        while (stored := await self._replay_tail(queued)) is None:
            pass  # a record or a key was left out of its entry: every entry that is still lost is staged anew
        await self._rewrite_live(queued, stored)
        heads = InboxHeads(self._storage, self.ring_of)
        await heads.read([effect for write in queued() for effect in write.transaction.effects])
        self._report()
        self._unfinished = False
        self.halted = ""
        return Recovered(stored, heads)

    def confirmed(self) -> None:
        """Note that the store holds every record of this server: the next loss needs a new permission.

        After a halt an operator has brought back what the store had lost.
        """
        self.allowed = self._always
        self.halted = ""

    async def _check_allowed(self) -> None:
        window_s = self._storage.capability.loss_window_s
        stored_id = await self._storage.load(SERVER_STORE_ID)
        same_store = stored_id in (self.store_id, None)
        # A loss window excuses an older state of this store, but not another store.
        if self.allowed or (window_s != 0 and same_store):
            if window_s == 0:  # elsewhere claims wait at the barrier, and do not look at the identity
                await self._identify(stored_id)
            return
        why = "it had promised to lose nothing" if same_store else "it is another store than at the start"
        self.halted = f"the store holds older data than it acknowledged, and {why}: writing stopped"
        raise StoreWentBackwards(
            self.halted,
            hint="look at the store; realmkeep.keeping.heal(keeper) writes every live session again over what it holds",
        )

    async def _identify(self, stored_id: bytes | None) -> None:
        """Take the identity of the store over which an operator lets us write; give ours to an empty one."""
        if stored_id is not None:
            self.store_id = stored_id
            return
        put = Transaction([Guard(SERVER_STORE_ID, None)], [Put(SERVER_STORE_ID, self.store_id)])
        (outcome,) = await self._storage.write([put])
        if not isinstance(outcome, Committed):
            raise StorageUnavailable(f"the recovery was interrupted: {outcome}", hint="it is tried again")

    async def _read(
        self, sessions: Iterable[Session[Any]], entries: Iterable[Entry] = ()
    ) -> dict[str, StoredOwnership]:
        parts = [part.keys for entry in entries for part in entry.parts]
        return await read_ownership(self._storage, [*(session.keys for session in sessions), *parts])

    async def _replay_tail(self, queued: Callable[[], Iterable[StagedWrite]]) -> dict[str, StoredOwnership] | None:
        """Apply the lost entries again, in their order.

        Returns:
            Owner and revision of each record afterwards; None if a part was left out of an entry, and all has to be done anew.
        """
        # Several batches are in flight, and their answers overtake each other: the tail has the order of the answers.
        entries = sorted(self.tail, key=attrgetter("order"))
        sessions = dict.fromkeys([*self._sessions.live(), *(m.session for write in queued() for m in write.members)])
        stored = await self._read(sessions, entries)
        self._lose(sessions, stored)
        lost = [entry for entry in entries if self._is_lost(entry, stored)]
        heads = InboxHeads(self._storage, self.ring_of)
        await heads.read([effect for entry in lost for effect in entry.effects])
        for start in range(0, len(lost), ENTRIES_AT_ONCE):
            batch = lost[start : start + ENTRIES_AT_ONCE]
            staged = [entry.replayed(stored, heads) for entry in batch]
            outcomes = await self._storage.write(staged)
            failed = [at for at, outcome in enumerate(outcomes) if not isinstance(outcome, Committed)]
            for at, entry in enumerate(batch):
                if at not in failed:
                    self._replayed(entry)
            if failed:  # only the first one counts: later entries may have failed because it did
                first = failed[0]
                await self._leave_out(batch[first], staged[first], outcomes[first])
                return None
        return stored

    def _lose(self, sessions: Iterable[Session[Any]], stored: Mapping[str, StoredOwnership]) -> None:
        for session in sessions:
            fate = stored[session.keys.record].verdict(acknowledged(session))
            # The store had lost our claim, so nothing kept another server from claiming the record.
            if fate.is_gone and not session.ended:
                self._sessions.lose(session, FOREIGN if fate is Verdict.FOREIGN else CLAIMED)
                self._torn[session.keys.record] = None

    def _is_lost(self, entry: Entry, stored: Mapping[str, StoredOwnership]) -> bool:
        """Whether the store lacks the write; parts of records that another server has are left out of it."""
        fates = entry.fates(stored)
        # A transaction is atomic: one record that has it tells that all of them had it.
        if any(fate is Verdict.KEPT for _, fate in fates):
            return False
        is_lost = any(fate.is_behind for _, fate in fates)
        for part, fate in fates:
            record = part.keys.record
            # The later revision of another server may follow the write or its loss: the other parts tell which.
            if fate.is_gone and (is_lost or _is_older(stored[record], part.leaves)):
                entry.left_out |= {record}
                self._torn[record] = None
                self.tail.claimed(record)
        return is_lost

    async def _leave_out(self, entry: Entry, transaction: Transaction, outcome: WriteOutcome) -> None:
        """Leave out of an entry the record or the key for which the store refused it.

        Raises:
            StorageUnavailable: It was refused for another reason, such as a store that is lost again; it is tried again.
        """
        # Another server has made or deleted the record since: its state is the newer one.
        if isinstance(outcome, Refused) and outcome.guard in entry.beside:
            record = ":".join(outcome.guard.key.split(":")[:2])
            log.error("a record that a lost commit made or deleted was changed since: %s; it is left as it is", record)
            entry.left_out |= {record}
            return
        broken = await wrongly_typed(self._storage, transaction) if isinstance(outcome, Failed) else {}
        if not broken:
            raise StorageUnavailable(f"the recovery was interrupted: {outcome}", hint="it is tried again")
        # Another program has put a value of another type there: only what needs this key is lost.
        for key, error in broken.items():
            log.critical("the store lost data, and a lost value cannot be written again: %s", error)
            entry.broken |= {key}
            for part in entry.parts:
                if key in part.owned_keys:
                    entry.left_out |= {part.keys.record}
                    self.tail.claimed(part.keys.record)

    def _replayed(self, entry: Entry) -> None:
        """The store has it again; the next crash may take it again."""
        entry.at_s = self._clock.monotonic_s()
        for part in entry.parts:
            if part.keys.record not in entry.left_out:
                self._written(part.keys, part.leaves)
        if entry.receivers:
            self._inboxes.delivered(entry.receivers)
        self._inboxes.deleted(entry.deleted)

    def _written(self, keys: RecordKeys, revision: int) -> None:
        self._rewritten.add(keys.record)
        self._probe.add_sample(keys.updated, revision)
        if (ring := self.ring_of(keys.record)) is not None:
            ring.letters_durable(self._clock.monotonic_s())
        if (session := self._sessions.get(keys.record)) is not None:
            self._inboxes.notice(session, kept=True)

    async def _rewrite_live(
        self, queued: Callable[[], Iterable[StagedWrite]], stored: dict[str, StoredOwnership]
    ) -> None:
        """Write every live session that is still behind, each by itself, from memory.

        A session with a write in the queue is left to that write: memory is ahead of it, so a rewrite would tear a commit
        of several records.
        """
        known = [session for session in self._sessions.live() if session.keys.record in stored]
        behind = [each for each in known if stored[each.keys.record].verdict(acknowledged(each)).is_behind]
        while behind:
            batch, behind = behind[:ENTRIES_AT_ONCE], behind[ENTRIES_AT_ONCE:]
            busy = {member.session for write in queued() for member in write.members}
            self._rewritten.update(each.keys.record for each in batch if each in busy)
            free = [each for each in batch if each not in busy and not each.ended]
            staged = {each: made for each in free if (made := self._staged(each, stored)) is not None}
            revisions = {session: session.revision for session in staged}  # the queue may move a session on meanwhile
            outcomes = await self._storage.write(list(staged.values()))
            interrupted: WriteOutcome | None = None
            for session, outcome in zip(staged, outcomes, strict=True):
                if isinstance(outcome, Committed):
                    owner, revision = session.claim, revisions[session]
                    session.raise_durable_revision(revision)
                    stored[session.keys.record] = StoredOwnership(owner, revision)
                    self._written(session.keys, revision)
                elif isinstance(outcome, Failed) and isinstance(outcome.error, WrongType):  # no attempt can succeed
                    self._freeze(session, outcome.error)
                else:  # the store is away, or lost again: the answers of the others count first
                    interrupted = outcome
            if interrupted is not None:
                raise StorageUnavailable(f"the recovery was interrupted: {interrupted}", hint="it is tried again")

    def _staged(self, session: Session[Any], stored: Mapping[str, StoredOwnership]) -> Transaction | None:
        held = stored[session.keys.record]
        try:
            return self._stager.rewrite(session, held.owner, held.updated, self._clock.wall_us())
        except RecordError as error:
            self._freeze(session, error)
            return None

    def _freeze(self, session: Session[Any], error: RealmkeepError) -> None:
        self._unwritable.add(session)
        self._sessions.freeze(session, error)

    def _report(self) -> None:
        if self._rewritten:
            log.critical("the store lost data: %d records are written again", len(self._rewritten))
            self._counters.healed_records += len(self._rewritten)
            if self.tail.given_up:
                log.critical("before that, %d writes were given up: see tail.TAIL_BYTES_MAX", self.tail.given_up)
        if self._torn:
            self._counters.torn_records += len(self._torn)
            log.critical(
                "the store lost data, and others had claimed these records before they were restored: %s; "
                "a value that they gave or got in the last moments before the loss may exist twice, or not at all",
                ", ".join(self._torn),
            )
        self._rewritten.clear()
        self._torn.clear()


def _is_older(stored: StoredOwnership, leaves: int) -> bool:
    return stored.revision is not None and stored.revision < leaves


async def wrongly_typed(storage: Storage, transaction: Transaction) -> dict[str, WrongType]:
    """The keys that hold a value of another type than a transaction needs, each with the error of the store.

    Raises:
        StorageError: The store cannot be read.
    """
    found: dict[str, WrongType] = {}
    is_list = {guard.key: False for guard in transaction.guards}
    is_list |= {
        each.key: isinstance(each, (Append, DropFirst)) for each in transaction.effects if not isinstance(each, Delete)
    }
    for key, as_list in is_list.items():
        try:
            await (storage.load_list(key, count=1) if as_list else storage.load(key))
        except WrongType as error:
            found[key] = error
    return found
