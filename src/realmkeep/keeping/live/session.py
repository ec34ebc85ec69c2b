"""A live record with its bookkeeping: its owner, its durable revision, and the writes on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar

from realmkeep.errors import OwnershipLost, SessionEnded, SessionFrozen, TierViolation
from realmkeep.keeping.live.op_ring import Receipt
from realmkeep.keeping.live.session_states import OVER, WRITABLE, SessionState, next_state
from realmkeep.records import FieldInfo, Record, Tier, observe, peek_marks, put_back_marks, written_version
from realmkeep.storage import OwnedKeys

if TYPE_CHECKING:
    from collections import Counter, defaultdict
    from collections.abc import Awaitable, Callable

    from realmkeep.clock import Timer
    from realmkeep.keeping.live.op_ring import Op, OpRing
    from realmkeep.keeping.live.pending_write import PendingWrite
    from realmkeep.keeping.live.rate_limit import CommitRateLimiter
    from realmkeep.keeping.live.session_states import SessionEvent
    from realmkeep.keys import RecordKeys

R_co = TypeVar("R_co", bound=Record, covariant=True)
NEVER: Final = float("inf")


class KeeperCalls(NamedTuple):
    """The calls of a session to its keeper, which wires them to the rooms that serve them.

    Attributes:
        server: The server's name.
        dirty: The dirty sessions by kind.
        census: How many sessions have come into each state and not left it, by kind.
        mark: Schedules a write, for a first or a more urgent change.
        escalate: Has the record written at once.
        report_violation: Reports that an IMMEDIATE field is about to change outside a commit.
        report_change_after_end: Reports that a record changes although its session is over: its key, the state, the field.
        disconnect: As `Session.disconnect`.
        resume: As `Session.resume`.
        release: As `Session.release`.
        settle: As `Session.settled`.
        open_letters: As `Session.open_letters`.
        recall: As `Session.recall`.
    """

    server: str
    dirty: defaultdict[str, set[Session[Any]]]
    census: Counter[tuple[str, SessionState]]
    mark: Callable[[Session[Any], Tier], None]
    escalate: Callable[[Session[Any]], None]
    report_violation: Callable[[Session[Any], TierViolation], None]
    report_change_after_end: Callable[[str, SessionState, FieldInfo], None]
    disconnect: Callable[[Session[Any]], None]
    resume: Callable[[Session[Any]], None]
    release: Callable[[Session[Any]], Awaitable[None]]
    settle: Callable[[Session[Any]], Awaitable[None]]
    open_letters: Callable[[Session[Any]], Awaitable[None]]
    recall: Callable[[Session[Any], Op], Awaitable[Receipt[Any] | None]]


class Session(Generic[R_co]):
    """A record that this server owns and that lives in its memory. Made by `Keeper.login`, `hold` and `borrow` only.

    Read and change `record` freely between awaits; changes mark themselves and are written in time.

    Attributes:
        calls: Its keeper's calls; they tell sessions of different keepers apart.
        record: The live record.
        id: Its id, as text.
        keys: Its keys in the store.
        state: The state by `LIFECYCLE`; `move` alone changes it.
        shared: Held for many (`Keeper.hold`): no grace, no rate limit.
        borrowers: How many blocks of `Keeper.borrow` use it; 0 for a session that lives by itself.
        resumed: The last `login` took over a live session instead of loading.
        connection: The number of the player's connection: one more with each `login`.
        frozen: Why the record cannot be saved as it is; None while it can.
        revision_min: The lowest revision that its next write may leave: the token of its claim, or above a write that did not
            happen.
        committing: The function of a commit runs, so changes need no mark of their own.
        dirty_of_kind: The dirty sessions of its kind, which are counted so.
        version: The schema version under which its record is written; a newer one than the class's if a newer release stored it.
        snapshot_due_s: From this monotonic time on, its next write adds a snapshot to the journal.
    """

    __slots__ = (
        "__weakref__",
        "borrowers",
        "calls",
        "checksum",
        "committing",
        "connection",
        "dirty_of_kind",
        "due_s",
        "durable_revision",
        "frozen",
        "grace_timer",
        "id",
        "keys",
        "last_write",
        "limiter",
        "owned",
        "record",
        "resumed",
        "revision",
        "revision_min",
        "ring",
        "shared",
        "snapshot_due_s",
        "state",
        "stored_version",
        "version",
    )

    def __init__(
        self,
        calls: KeeperCalls,
        record: R_co,
        keys: RecordKeys,
        *,
        owner: bytes,
        token: int,
        revision: int,
        stored_version: int,
        ring: OpRing,
        shared: bool,
    ) -> None:
        self.calls = calls
        self.record = record
        self.keys = keys
        self.id = keys.id
        self.owned = OwnedKeys(keys.record, keys.updated, keys.owner, keys.ops, owner)
        self.revision_min = token
        self.revision = revision
        self.durable_revision = revision
        self.stored_version = stored_version
        self.version = written_version(record)
        self.ring = ring
        self.shared = shared
        self.resumed = False
        self.connection = 1
        self.frozen: str | None = None
        self.state = SessionState.CONNECTED
        self.checksum = b""
        self.due_s = NEVER
        self.dirty_of_kind = calls.dirty[keys.kind]  # of which it is one while it is dirty
        self.committing = False
        self.borrowers = 0
        self.snapshot_due_s = NEVER
        self.last_write: PendingWrite | None = None
        self.limiter: CommitRateLimiter | None = None
        self.grace_timer: Timer | None = None
        observe(record, self)

    def __repr__(self) -> str:
        return f"<Session {self.keys.record} {self.state.value}{' dirty' if self.dirty else ''}>"

    @property
    def claim(self) -> bytes:
        """The value of its owner key."""
        return self.owned.claim

    @property
    def cls(self) -> type[Record]:
        """The record's class."""
        return type(self.record)

    @property
    def server(self) -> str:
        """The name of the server that owns it."""
        return self.calls.server

    @property
    def connected(self) -> bool:
        """The player is here, not in grace and not gone."""
        return self.state is SessionState.CONNECTED

    @property
    def ended(self) -> bool:
        """Nothing more of this session is stored."""
        return self.state in OVER

    @property
    def writable(self) -> bool:
        """Its record may be written: it is neither over nor on its way out, with its final snapshot made."""
        return self.state in WRITABLE

    @property
    def dirty(self) -> bool:
        """Something of the record is not durable yet: changed, or on its way."""
        return self.durable_revision != self.revision or bool(peek_marks(self.record))

    @property
    def last_op(self) -> int:
        """The highest operation id applied to this record; 0 if none."""
        return self.ring.last_id

    def recorded(self, op: Op) -> Receipt[Any] | None:
        """The receipt of `op` if it was applied before.

        Its write may still be under way: a client hears of it after `recall`.

        Raises:
            Misuse: `op` is no `Op`.
            OpTooOld: Its id lies below the last 32.
            OpReused: The id was applied for another request.
        """
        entry = self.ring.find_op(op)
        return None if entry is None else Receipt(entry.value(), repeated=True)

    async def recall(self, op: Op) -> Receipt[Any] | None:
        """The receipt of `op` if it was applied before, once that is durable; None at once if it was not.

        A handler asks this first, because its decision now may differ from the recorded one. See `answer`.

        Raises:
            Misuse: `op` is no `Op`.
            OpTooOld: Its id lies below the last 32.
            OpReused: The id was applied for another request.
            CommitPending: The store has not answered for a while; the write goes on.
            CommitRefused: It did not happen after all.
            CommitUnknown: Ownership was lost before the store answered.
        """
        return await self.calls.recall(self, op)

    async def settled(self) -> None:
        """Return when everything that was escalated so far, and every write queued so far, is durable.

        Raises:
            SessionEnded: The session ended before that.
            CommitPending: The store has not answered for a while; the write goes on.
        """
        await self.calls.settle(self)

    async def open_letters(self) -> None:
        """Return when the letters that wait in its inbox now are applied, durably; by itself that happens soon after a login.

        Raises:
            RealmkeepError: The store cannot be reached, or the session cannot be used; the letters stay.
        """
        await self.calls.open_letters(self)

    def disconnect(self, connection: int | None = None) -> None:
        """The player is gone: the hooks of `on_disconnect` run, and the grace period starts. Twice does nothing.

        Args:
            connection: The `Session.connection` at the login of the connection that has ended: nothing happens if another
                one has taken the session over since, or the session is over.

        Raises:
            SessionEnded: The session is over.
        """
        if connection is not None and (connection != self.connection or self.ended):
            return
        self.calls.disconnect(self)

    def resume(self) -> None:
        """The player is back within the grace period: the hooks of `on_resume` run. Twice does nothing.

        Raises:
            SessionEnded: The session is over; log in again.
        """
        self.calls.resume(self)

    async def logout(self) -> None:
        """PendingWrite the final snapshot and release ownership in one transaction; durable on return.

        The store's `:updated` key of the record is then when the player was last seen.

        Raises:
            SessionFrozen: The record cannot be saved as it is; the session stays.
            SessionEnded: The session was over already.
            CommitPending: The store has not answered for a while; the logout goes on.
        """
        await self.calls.release(self)

    async def release(self) -> None:
        """Hand the record over: the same as `logout`, by the name that fits a change of servers or a shared record.

        Raises:
            SessionFrozen: The record cannot be saved as it is; the session stays.
            SessionEnded: The session was over already.
            CommitPending: The store has not answered for a while; the release goes on.
        """
        await self.calls.release(self)

    def move(self, event: SessionEvent) -> None:
        """Go on to the state that follows; nothing else changes `state`. The timer of the grace ends with the grace.

        Raises:
            AssertionError: The event cannot happen in this state (`LIFECYCLE`).
        """
        before, self.state = self.state, next_state(self.state, event)
        self.calls.census[self.keys.kind, before] -= 1
        self.calls.census[self.keys.kind, self.state] += 1
        if self.grace_timer is not None and self.state is not SessionState.GRACE:
            self.grace_timer.cancel()
            self.grace_timer = None

    def raise_durable_revision(self, revision: int) -> None:
        """Its state at this revision is durable; the session is dirty no more if nothing has changed since."""
        self.durable_revision = max(self.durable_revision, revision)
        if self.durable_revision == self.revision and self.due_s == NEVER:
            self.dirty_of_kind.discard(self)

    def require_usable(self) -> None:
        """Refuse a session that is over, on its way out, or frozen.

        Raises:
            OwnershipLost: Another server owns the record.
            SessionEnded: It is over.
            SessionFrozen: It cannot be saved as it is.
        """
        if self.frozen is None and self.state in WRITABLE:
            return
        if self.state is SessionState.LOST:
            raise OwnershipLost(
                f"{self.keys.record} is owned by another server now", hint="tell the client to reconnect"
            )
        if self.state not in WRITABLE:
            raise SessionEnded(f"the session of {self.keys.record} is {self.state.value}", hint="log in again")
        raise SessionFrozen(f"{self.keys.record} cannot be saved: {self.frozen}", hint="mend the record")

    def marked(self, record: Record, tier: Tier) -> None:
        """A first or a more urgent change. Not while a commit runs: its own write carries the change, or it is undone."""
        if not self.committing:
            self.calls.mark(self, tier)

    def triggered(self, record: Record, field: FieldInfo, old: object, new: object) -> None:
        """An assignment that must be durable at once."""
        if not self.committing:
            self.calls.escalate(self)

    def immediate_changed(self, record: Record, field: FieldInfo) -> None:
        """An IMMEDIATE field is about to change.

        Raises:
            TierViolation: In strict mode, outside a commit.
        """
        if self.committing:
            return
        violation = TierViolation(
            f"{self.keys.record}: {field.name} is IMMEDIATE and changes only inside a commit",
            hint="move the change into keeper.commit(...)",
        )
        self.calls.report_violation(self, violation)


class EndedRecordObserver:
    """Observes a record after its session; it holds no session, so both are freed without a garbage collection."""

    def __init__(self, key: str, state: SessionState, tell: Callable[[str, SessionState, FieldInfo], None]) -> None:
        self._key = key
        self._state = state
        self._tell = tell

    def assigning(self, record: Record, field: FieldInfo) -> None:
        """A change that will not be stored.

        Raises:
            OwnershipLost: In strict mode.
        """
        self._tell(self._key, self._state, field)

    def marked(self, record: Record, tier: Tier) -> None:
        """`assigning` has reported it."""

    def triggered(self, record: Record, field: FieldInfo, old: object, new: object) -> None:
        """Told by `assigning` already."""

    def immediate_changed(self, record: Record, field: FieldInfo) -> None:
        """Told by `assigning` already."""


def mark_all(record: Record) -> None:
    """Mark every durable field, because the change is not known by field."""
    put_back_marks(record, (1 << len(record.__realmkeep__.durable)) - 1)
