"""Tier 1: a function on live records; all its changes become durable, or none.

Memory runs ahead of the store: the function runs at once, the changed records are encoded and queued at once, and the caller
gets the result when they are durable. Later changes build on them without waiting, so there are no locks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from realmkeep.callables import discard, is_deferred
from realmkeep.errors import CommitPending, Misuse, OpReused, QueueFull
from realmkeep.keeping.live.letter_types import Letter
from realmkeep.keeping.live.op_ring import Receipt, line_of
from realmkeep.keeping.live.record_keys import keys_of
from realmkeep.keeping.live.sealing import seal
from realmkeep.keeping.live.session_states import WRITABLE
from realmkeep.keeping.writing.economy import EconomyTx
from realmkeep.keeping.writing.journal import ENTRY_BYTES_MAX, Beside
from realmkeep.keeping.writing.receivers import ReceiverConditions
from realmkeep.keeping.writing.staging import StagedWrite, whole
from realmkeep.records import Record, fork_of, leave_unmarked, mark_again
from realmkeep.storage import Advance, Append, Delete, DropFirst, Guard, Put
from realmkeep.storage.protocol import TRANSACTION_BYTES_MAX, TRANSACTION_KEYS_MAX, VALUE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realmkeep.clock import Clock
    from realmkeep.keeping.live.counters import Counters
    from realmkeep.keeping.live.op_ring import Op, RingState
    from realmkeep.keeping.live.record_encoder import RecordEncoder
    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.writing.commit_results import ResultRecorder
    from realmkeep.keeping.writing.economy import Economy
    from realmkeep.keeping.writing.journal import Described, Journal
    from realmkeep.keeping.writing.staging import Stager, WriteMember
    from realmkeep.keeping.writing.write_queue import WriteQueue
    from realmkeep.keys import RecordKeys
    from realmkeep.records import Fork
    from realmkeep.storage import Effect, Transaction

DELETED_KEEP_S: Final = 60.0  # several times a heartbeat and the longest loss window
KEYS_A_SESSION: Final = 7  # two guards; record, revision, version, op ring; one to spare
BYTES_BESIDE_MAX: Final = 16 * 1024  # a full op ring and the keys of one session
SESSIONS_THAT_FIT: Final = TRANSACTION_BYTES_MAX // (VALUE_BYTES_MAX + BYTES_BESIDE_MAX)  # however large their records

T = TypeVar("T")
R = TypeVar("R", bound=Record)


class Tx(EconomyTx):
    """The transaction of a commit under way, beside the records that the commit changes: letters, creations, deletions.

    `Keeper.tx` gives it to the commit's function; it is usable only while that function runs.
    """

    __slots__ = (
        "_encoder",
        "_now_us",
        "_sender",
        "_stager",
        "created",
        "deleted",
        "delivered",
        "effects",
        "guards",
        "opened",
        "receivers",
        "spent",
    )

    def __init__(
        self, stager: Stager, encoder: RecordEncoder, now_us: int, sender: str, receivers: ReceiverConditions
    ) -> None:
        super().__init__()
        self._stager = stager
        self._encoder = encoder
        self._now_us = now_us
        self._sender = sender
        self.receivers = receivers
        self.guards: list[Guard] = []
        self.effects: list[Effect] = []
        self.delivered: list[RecordKeys] = []
        self.deleted: list[RecordKeys] = []
        self.created: list[tuple[RecordKeys, bytes]] = []
        self.opened: list[str] = []
        self.spent: Sequence[bytes] = ()

    @property
    def is_bare(self) -> bool:
        """Whether it adds nothing to the transaction."""
        return not (self.effects or self.guards)

    @property
    def beside(self) -> Beside:
        """Its parts for the journal."""
        return Beside(self.reason, self.opened, self.effects, self.created, self.deleted)

    def deliver(
        self,
        cls: type[Record],
        id: int | str,  # noqa: A002 - the field's own name
        letter: object,
        *,
        expires_s: float | None = None,
    ) -> None:
        """Put a letter into the inbox of a record on any server; it is applied exactly once, by `on_letter`.

        Its sender is the record of the commit's first session, to which it goes back if it is refused or expires.
        The receiver must exist when the commit happens, or be created by it: otherwise the commit is refused with
        `NoSuchReceiver`; with `InboxFull` if `keeper.inbox_letters_max` letters wait for it.

        Args:
            cls: The class of the receiver.
            id: Its id.
            letter: A `Letter`, or plain JSON values; at most 64 KiB.
            expires_s: Seconds after which it is returned instead of opened, by the receiver's clock; None for never.

        Raises:
            InvalidKey: The id is malformed.
            Misuse: The letter cannot be stored, or is too large; the expiry is out of range; or the commit is over.
            DefinitionError: Its type has a gap in its migrations.
            NoSuchReceiver: This commit deletes the receiver.
            InboxFull: This commit alone has more letters for it than an inbox takes.
        """
        self._check_open()
        record_keys = keys_of(cls, id)
        sealed = seal(letter, sender=self._sender, now_us=self._now_us, expires_s=expires_s)
        if isinstance(letter, Letter):
            self.count(letter.__letter__, letter)
        self.receivers.add_letter(record_keys)
        self.effects.append(Append(record_keys.inbox, sealed))
        self.delivered.append(record_keys)

    def create(self, cls: type[R], id: int | str, record: R) -> None:  # noqa: A002 - the field's own name
        """Create a record without an owner; the commit is refused with `AlreadyExists` if it exists.

        Its revision is later than the tombstone that a deletion of the same id may have left (see `delete`).

        Raises:
            InvalidKey: The id is malformed.
            Misuse: `record` is not a `cls`, or the commit is over.
            RecordError: The record is invalid, too large, or cannot be stored.
        """
        self._check_open()
        record_keys = keys_of(cls, id)
        if type(record) is not cls:
            raise Misuse(
                f"keeper.tx.create of a {cls.__name__} got a {type(record).__name__}", hint=f"make a {cls.__name__}"
            )
        blob = self._encoder.encode_record(record, record_keys.record)
        self.guards += [Guard(record_keys.record, None), Guard(record_keys.owner, None)]
        self.receivers.add_created(record_keys)
        self.created.append((record_keys, blob))
        self.count(cls.__realmkeep__, record)
        self.effects += [
            Put(record_keys.record, blob),
            Put(record_keys.version, b"%d" % cls.__realmkeep__.version),
            Put(record_keys.updated, self._ahead()),
            *self._stager.leave(record_keys),
        ]

    def delete(self, cls: type[Record], id: int | str) -> None:  # noqa: A002 - the field's own name
        """Delete a record that no server owns, with the keys beside it; the commit is refused if a server owns it.

        Unopened letters are not deleted: they are returned to their senders soon after. A letter that cannot be returned
        stays, and `realmkeep letters list` names it.

        Leaves a tombstone for a minute: a revision dated one minute ahead, beyond the clock of every server. Without it the
        last owner would take the deletion for data loss.

        Raises:
            InvalidKey: The id is malformed.
            Misuse: The commit is over.
        """
        self._check_open()
        record_keys = keys_of(cls, id)
        self.guards.append(Guard(record_keys.owner, None))
        self.receivers.add_deleted(record_keys)
        beside = (record_keys.record, record_keys.version, record_keys.ops)
        self.effects += [Delete(key) for key in beside]
        self.effects.append(Put(record_keys.updated, self._ahead(), expire_s=DELETED_KEEP_S))
        self.effects += self._stager.leave(record_keys)
        self.deleted.append(record_keys)

    def _ahead(self) -> bytes:
        """A revision one minute ahead: one id may be deleted and created in turns, unread, and it must never go back."""
        return b"%d" % (self._now_us + int(DELETED_KEEP_S * 1_000_000))

    def add(self, *more: Guard | Effect) -> None:
        """Add guards and effects on keys beside the records, in the same transaction; for Realmkeep's own rooms.

        A guard that does not hold refuses the commit with `AlreadyExists`.

        Raises:
            Misuse: The commit is over.
        """
        self._check_open()
        self.guards += [each for each in more if isinstance(each, Guard)]
        self.effects += [each for each in more if not isinstance(each, Guard)]

    def drop_letters(self, inbox: str, count: int, opened: Sequence[str] = (), spent: Sequence[bytes] = ()) -> None:
        """Drop the first letters of a list, of which this commit applies those with the ids `opened`; for keeping alone.

        `spent` are those that lie in no list afterwards: they are applied, or go back.
        """
        self.effects.append(DropFirst(inbox, count))
        self.opened.extend(opened)
        self.spent = spent

    def close(self) -> None:
        """Refuse every further addition."""
        self._open = False


class _Running(NamedTuple):
    """A commit with a running function: its time, and the sender of its letters."""

    now_us: int
    sender: str


class Commits:
    """Runs the commits of one keeper.

    Attributes:
        on_landed: Called once a commit is durable, before its callers are told; the engine sets it.
    """

    on_landed: Callable[[StagedWrite], None]

    def __init__(
        self,
        queue: WriteQueue,
        stager: Stager,
        encoder: RecordEncoder,
        clock: Clock,
        results: ResultRecorder,
        counters: Counters,
        journal: Journal,
        economy: Economy,
        *,
        inbox_letters_max: int,
    ) -> None:
        self._queue = queue
        self._journal = journal
        self._economy = economy
        self._results = results
        self._stager = stager
        self._encoder = encoder
        self._clock = clock
        self._inbox_letters_max = inbox_letters_max
        self._counters = counters
        self._running: _Running | None = None
        self._tx: Tx | None = None  # made when the function asks for it: most do not

    @property
    def tx(self) -> Tx:
        """The transaction of the commit whose function is running.

        Raises:
            Misuse: No function of a commit is running.
        """
        if (running := self._running) is None:
            raise Misuse(
                "keeper.tx was asked for while no commit of this keeper runs",
                hint="deliver, create and delete inside a function given to keeper.commit, or in an on_letter hook",
            )
        if self._tx is None:
            receivers = ReceiverConditions(self._inbox_letters_max)
            self._tx = Tx(self._stager, self._encoder, running.now_us, running.sender, receivers)
        return self._tx

    def repeated(
        self, sessions: Sequence[Session[Any]], ops: Sequence[Op | None]
    ) -> tuple[Any, StagedWrite | None] | None:
        """The recorded result of ops that were applied before, with its write if that is under way; None if they may run.

        Raises:
            OpTooOld: An id is lower than every id in the ring.
            OpReused: An id was applied for another request, or one op was applied and another of the same commit was not.
        """
        for session, op in zip(sessions, ops, strict=False):
            if op is not None and op.id <= session.ring.last_id:
                break
        else:
            return None  # every operation is a new one, as nearly always
        found = [
            session.ring.find_op(op) if op is not None else None for session, op in zip(sessions, ops, strict=False)
        ]
        applied = [entry for entry in found if entry is not None]
        if not applied:
            return None
        if any(entry is None and op is not None for entry, op in zip(found, ops, strict=True)):
            raise OpReused(
                "one op of this commit was applied before, another was not",
                hint="answer the client that repeats with session.recorded(op)",
            )
        write = applied[0].write
        return applied[0].value(), write if isinstance(write, StagedWrite) and not write.landed else None

    def run(
        self, fn: Callable[..., T], sessions: Sequence[Session[Any]], ops: Sequence[Op | None]
    ) -> tuple[StagedWrite, T]:
        """Run `fn` on the live records and queue the changed records; after an error every record is as before.

        Raises:
            RealmkeepError: A session cannot be used, the queue is full, or a record cannot be stored.
            Exception: The error that `fn` raised, as it is.
        """
        for session in sessions:
            if session.frozen is not None or session.state not in WRITABLE:
                session.require_usable()
        if self._queue.full:
            raise QueueFull("the store does not keep up: the write queue is full", hint="nothing ran; try again")
        if self._running is not None:
            raise Misuse(
                "a commit was started inside the function of another commit",
                hint="commits do not nest: change all records in one function, or start the second commit after the first",
            )
        now_us = self._clock.wall_us()
        held = self._economy.before(sessions)
        befores = [(fork_of(session.record), session.ring.snapshot()) for session in sessions]
        self._running, self._tx = _Running(now_us, sessions[0].keys.record if sessions else ""), None
        records: list[Record] = []
        for session in sessions:
            records.append(record := session.record)
            session.committing = True
            leave_unmarked(record)
        try:
            result = fn(*records)
            if is_deferred(result):
                discard(result)
                raise Misuse(
                    f"the function of a commit returned a {type(result).__name__}, an awaitable or a generator",
                    hint="make it a plain def: a commit runs without awaiting, so the rest of it would never run",
                )
            encode = self._encoder.encode_record
            blobs = [encode(session.record, session.keys.record) for session in sessions]
            recorded = self._results.record(fn, result, wanted=any(ops))
            _check_size(blobs, self._tx)
            balance = self._economy.after(fn, sessions, held, None if self._tx is None else self._tx.flows)
            told = self._journal.describe(fn, [fork for fork, _ in befores], balance) if self._journal.is_on else None
        except BaseException:
            for session, (fork, ring) in zip(sessions, befores, strict=True):
                mark_again(session.record)
                session.record.restore(fork)
                session.ring.revert(ring)
            raise
        finally:
            tx = self._end()
            for session in sessions:
                session.committing = False
        return self._stage(sessions, blobs, befores, ops, recorded, tx, told, now_us), result

    def _end(self) -> Tx | None:
        """The function is over; returns its transaction, if it asked for one."""
        tx, self._tx, self._running = self._tx, None, None
        if tx is not None:
            tx.close()
        return tx

    def _stage(
        self,
        sessions: Sequence[Session[Any]],
        blobs: list[bytes],
        befores: list[tuple[Fork[Any], RingState]],
        ops: Sequence[Op | None],
        recorded: bytes,
        tx: Tx | None,
        told: Described | None,
        now_us: int,
    ) -> StagedWrite:
        members: list[WriteMember] = []
        rings: list[Effect] = []
        is_plain = tx is None or tx.is_bare
        former, line = None, b""
        if len(ops) < len(sessions):
            ops = [*ops, *[None] * (len(sessions) - len(ops))]
        for session, blob, (fork, ring_before), op in zip(sessions, blobs, befores, ops, strict=True):
            ring, addition = session.ring, b""
            if op is not None:
                if op is not former:  # one operation of two players is one line
                    former, line = op, line_of(op, recorded)
                ring.add_op(op, recorded, line)
                addition = line
            if ring.is_put_anew:
                rings.append(Put(session.keys.ops, ring.encode()))
                addition = b""
            member = self._stager.advance(session, blob, now_us, fork, ring_before, addition)
            is_plain = is_plain and member.is_plain
            members.append(member)
        entry = None
        if told is not None:
            advanced = [(member.session.keys, member.step.leaves) for member in members]
            entry = self._journal.commit_entry(told, advanced, ops, None if tx is None else tx.beside, now_us)
        write = StagedWrite(
            Advance(tuple([member.step for member in members]), entry)
            if is_plain and not rings
            else _in_full(members, rings, tx, entry),
            self._clock.monotonic_s(),
            members=tuple(members),
            has_entry=entry is not None,
            on_landed=self.on_landed,
        )
        if tx is not None:
            write.has_extra, write.receivers, write.deleted = bool(tx.effects), tx.delivered, tx.deleted
            write.created, write.spent = [keys for keys, _ in tx.created], tx.spent
        for session, op in zip(sessions, ops, strict=True):
            if op is not None:
                session.ring.attach_write(op, write)
            session.last_write = write
        self._queue.put(write)
        return write

    async def recall(self, session: Session[Any], op: Op) -> Receipt[Any] | None:
        """As `Session.recall`.

        Raises:
            OpTooOld, OpReused: The operation cannot be answered.
            CommitPending: The store has not answered for a while.
            KeepingError: It did not happen, or its outcome is unknown.
        """
        if session.recorded(op) is None:
            return None
        known = self.repeated((session,), (op,))
        return None if known is None else await self.repeat(*known)

    async def repeat(self, result: Any, write: StagedWrite | None) -> Receipt[Any]:
        """The receipt of an operation that was applied before, once its write is durable.

        Raises:
            CommitPending: The store has not answered for a while.
            KeepingError: It did not happen, or its outcome is unknown.
        """
        self._counters.repeats += 1
        receipt = Receipt(result, repeated=True)
        return receipt if write is None else await self.wait(write, receipt)

    async def wait(self, write: StagedWrite, receipt: Receipt[T]) -> Receipt[T]:
        """The receipt, once the write is durable.

        Raises:
            CommitPending: The store has not answered for a while.
            KeepingError: It did not happen, or its outcome is unknown.
        """
        try:
            await write.wait()
        except CommitPending as pending:

            async def patiently() -> Receipt[T]:
                await write.wait(patient=True)
                return receipt

            raise CommitPending(pending.message, wait=patiently, hint=pending.hint) from None
        return receipt


def _in_full(
    members: Sequence[WriteMember], rings: Sequence[Effect], tx: Tx | None, entry: Append | None
) -> Transaction:
    if tx is None:
        return whole(members, rings=rings, entry=entry)
    needs = tuple(tx.receivers.needs())
    return whole(members, rings=rings, guards=tx.guards, beside=tx.effects, needs=needs, entry=entry)


def _check_size(blobs: list[bytes], tx: Tx | None) -> None:
    """Refuse a transaction that the storage protocol would refuse.

    Raises:
        Misuse: The transaction would exceed the protocol's limits.
    """
    if len(blobs) <= SESSIONS_THAT_FIT and tx is None:
        return
    keys, size = KEYS_A_SESSION * len(blobs), ENTRY_BYTES_MAX
    if tx is not None:
        keys += len(tx.guards) + len(tx.effects) + len(list(tx.receivers.needs()))
        size += sum(len(effect.value) for effect in tx.effects if isinstance(effect, (Put, Append)))
    size += sum(len(blob) + BYTES_BESIDE_MAX for blob in blobs)
    if keys > TRANSACTION_KEYS_MAX or size > TRANSACTION_BYTES_MAX:
        raise Misuse(
            f"a commit of {len(blobs)} sessions, up to {keys} keys and {size} bytes",
            hint=f"one transaction takes {TRANSACTION_KEYS_MAX} keys and {TRANSACTION_BYTES_MAX} bytes; split it",
        )
