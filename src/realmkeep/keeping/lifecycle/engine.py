"""The inside of a keeper: its live sessions, and what happens to them."""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from realmkeep.background import Background
from realmkeep.errors import (
    CommitPending,
    OwnershipLost,
    RealmkeepError,
    StorageError,
    TierViolation,
)
from realmkeep.keeping.letters.inboxes import GIVE_BACK, KEPT, POLL_S, Inboxes, Notices
from realmkeep.keeping.lifecycle.leaving import Leaving
from realmkeep.keeping.live.counters import Counters
from realmkeep.keeping.live.op_ring import Receipt
from realmkeep.keeping.live.record_keys import keys_of, limits_of
from realmkeep.keeping.live.session import AfterEnd, Session, State, mark_all
from realmkeep.keeping.ownership.claims import Claims
from realmkeep.keeping.ownership.id_counter import Ids
from realmkeep.keeping.ownership.lease import LeaseHolder
from realmkeep.keeping.ownership.outage import Outage
from realmkeep.keeping.ownership.restart_barrier import Barrier
from realmkeep.keeping.ownership.safety import Safety
from realmkeep.keeping.recovery.former_rescues import Former
from realmkeep.keeping.recovery.resolver import Resolver
from realmkeep.keeping.recovery.store_loss import Healer
from realmkeep.keeping.recovery.stored_ownership import is_behind, read_held
from realmkeep.keeping.scan import Scanned, scan
from realmkeep.keeping.writing.commit import Commits
from realmkeep.keeping.writing.commit_results import Results
from realmkeep.keeping.writing.flusher import Flusher
from realmkeep.keeping.writing.staging import Comparison, StagedWrite, Stager
from realmkeep.keeping.writing.write_queue import WriteQueue
from realmkeep.records import FieldInfo, Record, Tier, load, observe, peek_marks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Generator, Iterable, ValuesView

    from realmkeep.clock import Clock
    from realmkeep.config import KeeperConfig, RecordsConfig
    from realmkeep.keeping.live.hooks import Hooks
    from realmkeep.keeping.live.op_ring import Op
    from realmkeep.keeping.ownership.claims import Claimed
    from realmkeep.keeping.recovery.released_snapshots import Departed
    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Storage

log = logging.getLogger(__name__)

R = TypeVar("R", bound=Record)

WATCH_S = 0.25  # how often those who wait for the store are looked after
RETRY_S = 1.0  # after the store could not be asked


class Engine:
    """Everything of one keeper that sessions, queue, flusher, healer and lease tell each other through."""

    def __init__(
        self, storage: Storage, clock: Clock, config: KeeperConfig, records: RecordsConfig, hooks: Hooks
    ) -> None:
        limits = limits_of(records)
        self.storage = storage
        self.clock = clock
        self.config = config
        self.records = records
        self.counters = Counters()
        self.hooks = hooks.taken(self.counters)
        self.sessions: dict[str, Session[Any]] = {}
        self.entering: dict[str, asyncio.Task[Any]] = {}
        self.awaited: dict[str, asyncio.Event] = {}
        self.unrecovered: dict[str, str] = {}  # records of a former run, and why they cannot be used
        self.store_id = b""
        self.former = Former(Path(os.devnull))
        self.closing = False
        self.background = Background("the keeper", clock)
        self.outage = Outage(clock, asked_every_s=POLL_S, patience_s=config.pending_after_s)
        self.barrier = Barrier(storage, clock, config.name, ttl_s=config.lease_ttl_s)
        self.safety = Safety(storage, self.barrier)
        self.stager = Stager(records.codec, limits, self.safety, lambda: self.lease.identity)
        self.healer = Healer(storage, clock, self.stager, self, self.counters, heal=config.heal)
        resolver = Resolver(storage, self, self.healer)
        self.queue = WriteQueue(
            storage, clock, resolver, self.healer.witnesses, self.background, depth_max=config.queue_max
        )
        self.ids = Ids(storage, self.barrier)
        self.lease = LeaseHolder(
            storage, clock, config, self, self.outage, self.healer.witnesses, self.barrier, self.ids
        )
        self.flusher = Flusher(self, self.queue, self.stager, clock, config)
        results = Results(self.counters, strict=config.strict)
        self.commits = Commits(
            self.queue,
            self.stager,
            clock,
            results,
            inbox_letters_max=config.inbox_letters_max,
            on_landed=self._committed,
        )
        self.leaving = Leaving(self, self.queue, self.stager, self.hooks, clock, grace_s=config.grace_s)
        self.claims = Claims(
            storage,
            clock,
            self.lease,
            limits=limits,
            stager=self.stager,
            barrier=self.barrier,
            safety=self.safety,
            accept_unchecked=records.accept_unchecked,
        )
        self.inboxes = Inboxes(self, self.commits, self.hooks, self.counters)
        self.notices = Notices(storage, clock, config.name, self.letter_arrived, self.outage)

    @property
    def name(self) -> str:
        """The server's name."""
        return self.config.name

    @property
    def unbroken_since_s(self) -> float:
        """Since when nobody could take an older state of what is ours, on the monotonic clock; infinity: nothing prevents it."""
        prevented = self.barrier.holds and not self.lease.lapsed
        return self.lease.unbroken_since_s if prevented else float("inf")

    def start(self) -> None:
        """Start what runs for as long as the keeper is open."""
        loops = {
            "lease": self.lease.keep,
            "flusher": self.flusher.run,
            "notices": self.notices.listen,
            "patience": self._watch,
            "outage": partial(self.outage.watch, self.queue),
        }
        for name, loop in loops.items():
            self.background.keep(name, loop)

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a task of this keeper; if it fails, the keeper is degraded and says why."""
        return self.background.run(name, work)

    async def _watch(self) -> None:
        """Tell those who wait for the store for long that they wait."""
        while True:
            await self.clock.sleep(WATCH_S)
            since_s = self.clock.monotonic_s() - self.config.pending_after_s
            for write in self.queue.oldest():
                if write.queued_s > since_s:
                    break
                if write.awaited:
                    write.give_up_waiting(
                        CommitPending(
                            f"the store has not answered for {self.config.pending_after_s:g} s",
                            wait=lambda write=write: write.wait(patient=True),
                            hint="the operation goes on; await wait() for its outcome",
                        )
                    )

    def abandon(self) -> None:
        """Forget everything without saving, as a crash does."""
        self.closing = True
        self.queue.abandon()
        self.lease.forget()
        self.background.cancel()
        for entry in self.entering.values():
            entry.cancel()
        for session in list(self.sessions.values()):
            self.dismiss(session, State.ENDED)

    def live(self) -> ValuesView[Session[Any]]:
        """Every session that may still write."""
        return self.sessions.values()

    def admit(self, claimed: Claimed[R], *, shared: bool) -> Session[R]:
        """Make a session of what was claimed."""
        session = Session(
            self,
            claimed.record,
            claimed.keys,
            owner=self.lease.owner(claimed.token),
            token=claimed.token,
            revision=claimed.revision,
            stored_version=claimed.stored_version,
            ring=claimed.ring,
            shared=shared,
        )
        self.sessions[claimed.keys.record] = session
        self.unrecovered.pop(claimed.keys.record, None)
        if (departed := self.healer.departures.get(claimed.keys.record)) is not None:
            session.ring.remember_letters(departed.ring)
            self.healer.departures.forget(claimed.keys.record)
        if claimed.changed:
            mark_all(claimed.record)
            self.escalate(session)
        else:
            self.stager.take_as_stored(session)
        return session

    async def exists(self, cls: type[Record], id: int | str) -> bool:  # noqa: A002 - the field's own name
        """Whether there is such a record, live here or stored."""
        key = keys_of(cls, id).record
        return key in self.sessions or await self.storage.exists(key)

    async def copy(self, cls: type[R], id: int | str) -> R | None:  # noqa: A002 - the field's own name
        """A copy of the record: of the live one, or of what is stored; None if it is absent.

        Raises:
            Quarantined: What is stored cannot be used.
            StorageError: The store cannot be reached.
        """
        record_keys = keys_of(cls, id)
        live = self.sessions.get(record_keys.record)
        if live is None:
            await self.barrier.wait()
        stored = self.stager.encode(live) if live is not None else await self.storage.load(record_keys.record)
        return None if stored is None else await self.claims.read(cls, record_keys, stored)

    async def scan(self, cls: type[R]) -> AsyncGenerator[Scanned[R]]:
        """As `Table.scan`.

        Raises:
            StorageError: The store cannot be reached.
        """
        limits, unchecked = limits_of(self.records), self.records.accept_unchecked

        def read(record_keys: RecordKeys, stored: bytes | None) -> R | None:
            live = self.sessions.get(record_keys.record)
            blob = self.stager.encode(live) if live is not None else stored
            return None if blob is None else load(blob, cls, limits=limits, accept_unchecked=unchecked).require()

        await self.barrier.wait()
        async for each in scan(cls, self.storage, read):
            yield each

    def dismiss(self, session: Session[Any], state: State) -> None:
        """Nothing more of the session is stored."""
        session.state = state
        session.stop_grace()
        self.sessions.pop(session.keys.record, None)
        observe(session.record, AfterEnd(session.keys.record, state, self))
        self.wake(session)

    async def gone(self, session: Session[Any]) -> None:
        """Return when the session is over, or has been given back by whoever borrowed it."""
        await self.awaited.setdefault(session.keys.record, asyncio.Event()).wait()

    def wake(self, session: Session[Any]) -> None:
        """Those who wait until it is gone may look again."""
        if (awaited := self.awaited.pop(session.keys.record, None)) is not None:
            awaited.set()

    def marked(self, session: Session[Any], tier: Tier) -> None:
        """A first or a more urgent change."""
        self.flusher.marked(session, tier)

    def escalate(self, session: Session[Any]) -> None:
        """Write the record at the end of this turn of the loop, with everything else that changes until then."""
        if not session.escalating and not session.ended:
            session.escalating = True
            self.counters.escalations += 1
            asyncio.get_running_loop().call_soon(self._write_escalated, session)

    def _write_escalated(self, session: Session[Any]) -> None:
        if session.escalating and not session.ended and session.state is not State.LEAVING:
            session.escalating = False
            self.flusher.write(session)

    def violated(self, session: Session[Any], violation: TierViolation) -> None:
        """An IMMEDIATE field is about to change outside a commit.

        Raises:
            TierViolation: In strict mode.
        """
        if self.config.strict:
            raise violation
        self.counters.tier_violations += 1
        log.error("%s; it is written at once", violation.message)
        self.escalate(session)

    def changed_after_end(self, key: str, state: State, field: FieldInfo) -> None:
        """A record changes whose session is over.

        Raises:
            OwnershipLost: In strict mode.
        """
        self.counters.changes_after_end += 1
        if self.config.strict:
            raise OwnershipLost(
                f"{key}.{field.name} was changed after its session was {state.value}",
                hint="drop the record when on_lost_ownership or on_evict runs",
            )

    def changed_while_leaving(self, session: Session[Any]) -> None:
        """Its record changed after the final snapshot was taken."""
        self.counters.changes_after_end += 1
        log.error("%s changed while its session was leaving; that is not stored", session.keys.record)

    def forgotten(self, session: Session[Any]) -> None:
        """The sweep found a change that nobody had marked."""
        self.counters.forgotten_marks += 1
        log.warning("%s changed inside a container without touch(); the sweep found it", session.keys.record)

    def recorded(self, session: Session[Any], op: Op) -> Receipt[Any] | None:
        """The receipt of an operation applied before.

        Raises:
            OpTooOld: Its id lies below the ring.
            OpReused: The id was applied for another request.
        """
        entry = session.ring.find(op)
        return None if entry is None else Receipt(entry.value(), repeated=True)

    async def recall(self, session: Session[Any], op: Op) -> Receipt[Any] | None:
        """The receipt of an operation applied before, once it is durable.

        Raises:
            OpTooOld, OpReused: As `recorded`.
            CommitPending: The store has not answered for a while.
            KeepingError: It did not happen, or nobody can say.
        """
        if self.recorded(session, op) is None:
            return None
        known = self.commits.repeated((session,), (op,))
        return None if known is None else await self.repeat(*known)

    async def repeat(self, result: Any, write: StagedWrite | None) -> Receipt[Any]:
        """The receipt of what was applied before, once its write is durable.

        Raises:
            CommitPending: The store has not answered for a while.
            KeepingError: It did not happen, or nobody can say.
        """
        self.counters.repeats += 1
        receipt = Receipt(result, repeated=True)
        return receipt if write is None else await self.commits.wait(write, receipt)

    async def settled(self, session: Session[Any]) -> None:
        """Everything escalated and queued so far is durable.

        Raises:
            SessionEnded: The session ended before that.
            CommitPending: The store has not answered for a while.
        """
        self._write_escalated(session)
        if session.frozen is not None:
            session.require_usable()
        if session.last_write is not None:
            await session.last_write.wait()

    def disconnect(self, session: Session[Any]) -> None:
        """The player is gone: the grace period starts.

        Raises:
            SessionEnded: The session is over.
        """
        self.leaving.disconnect(session)

    def resume(self, session: Session[Any]) -> None:
        """The player is back.

        Raises:
            SessionEnded: The session is over.
        """
        self.leaving.resume(session)

    async def release(self, session: Session[Any], *, patient: bool = False) -> None:
        """As `Session.release`; a patient caller waits for the store however long it takes."""
        await self.leaving.release(session, patient=patient)

    def released(self, session: Session[Any], write: StagedWrite) -> None:
        """Its final snapshot is durable, and the record is nobody's."""
        with self._nothing_else_fails("what follows a release"):
            if peek_marks(session.record):
                self.changed_while_leaving(session)
            self.healer.released(session, write)
        self.dismiss(session, State.ENDED)

    def lose(self, session: Session[Any], reason: str) -> None:
        """Another server owns the record: end the session, tell the game."""
        if session.ended:
            return
        self.dismiss(session, State.LOST)
        self.counters.lost += 1
        log.error("%s was lost: %s", session.keys.record, reason)
        self.hooks.run("lost_ownership", session.cls, session, reason)

    def freeze(self, session: Session[Any], error: RealmkeepError) -> None:
        """The record cannot be saved as it is: report it, and go on trying."""
        was_frozen, session.frozen = session.frozen is not None, str(error)
        if not was_frozen:
            self.counters.frozen += 1
            log.error("%s cannot be saved: %s", session.keys.record, error)
            self.hooks.run("frozen", session.cls, session, error)
        self.flusher.marked(session, Tier.BATCHED)  # it is tried again: a record that was mended thaws by itself

    def _committed(self, write: StagedWrite) -> None:
        with self._nothing_else_fails("what follows a commit"):
            self.healer.remember(write)
            if write.receivers:
                self.delivered(write.receivers)
            self.deleted(write.deleted)

    @contextmanager
    def _nothing_else_fails(self, name: str) -> Generator[None]:
        """A write is durable, and so is what was sent with it: they are settled whatever comes of this one."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - a defect of ours; it is told
            self.background.failed(name, error)

    def letter_arrived(self, record_key: str) -> None:
        """A notice named this record."""
        session = self.sessions.get(record_key.removesuffix(GIVE_BACK).removesuffix(KEPT))
        if session is not None:
            give_back = record_key.endswith(GIVE_BACK)
            self.inboxes.notice(session, kept=record_key.endswith(KEPT), give_back=give_back)

    def notice_letters(self, session: Session[Any]) -> None:
        """The session's inbox may have letters: they are applied in the background, with those that were kept."""
        self.inboxes.notice(session, kept=True)

    def deleted(self, records: Iterable[RecordKeys]) -> None:
        """These records are gone: their letters are returned in the background."""
        self.inboxes.deleted(records)

    async def open_letters(self, session: Session[Any]) -> None:
        """As `Session.open_letters`.

        Raises:
            RealmkeepError: As there.
        """
        await self.inboxes.open(session)

    def delivered(self, receivers: Iterable[RecordKeys]) -> None:
        """Letters to these are durable: tell their owners."""
        elsewhere: dict[RecordKeys, None] = {}
        for receiver in receivers:
            session = self.sessions.get(receiver.record)
            if session is not None:
                self.inboxes.notice(session)
            else:
                elsewhere[receiver] = None
        if elsewhere:
            self.spawn("notices of letters", self._notify(elsewhere))

    async def _notify(self, receivers: Iterable[RecordKeys]) -> None:
        while True:
            try:
                await self.notices.send(receivers)
            except StorageError as error:
                log.info("no notice of letters was sent yet: %s", error)
                await self.clock.sleep(RETRY_S)
            else:
                return

    def replaced(self, by: str) -> None:
        """Another keeper took this server's name: nothing more is stored."""
        log.critical("another keeper took the name %s: %s; every session here is over", self.config.name, by)
        for session in list(self.sessions.values()):
            self.lose(session, f"another keeper took the name {self.config.name}: {by}")

    def look_back(self) -> None:
        """Others may own records of ours by now, or the store may have lost some: an idle session would not notice."""
        self.background.keep("look back", self._look_back)

    async def _look_back(self) -> None:
        witnesses = self.healer.witnesses
        doubts = witnesses.doubts
        try:
            held = await read_held(self.storage, [*self.sessions.values(), *self.healer.departures])
        except StorageError as error:
            log.info("whose the records are cannot be read yet: %s", error)
            self.clock.call_later(RETRY_S, self.look_back)
            return
        for kept, state in held.items():
            if isinstance(kept, Session) and (is_behind(kept, state) or state.owner != kept.owner_guard.expected):
                self.escalate(kept)
        if self.healer.went_backwards(held):
            await self._compare(next(kept for kept, state in held.items() if is_behind(kept, state))).wait(patient=True)
        witnesses.dispel(doubts)

    def _compare(self, kept: Session[Any] | Departed) -> Comparison:
        comparison = Comparison(kept.keys.updated, kept.durable_revision, queued_s=self.clock.monotonic_s())
        self.queue.put(comparison)
        return comparison
