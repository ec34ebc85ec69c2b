"""The write queue: one FIFO for every write of a server, of each tier, with several batches in flight.

While batches are in flight new writes gather into the next one: group commit (Gawlick and Kinkade, 1985). An attempt that
does not end as committed halts the queue. Once no batch is in flight, the resolver reads from the store which writes landed,
which failed, and which are sent again, in their order.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from enum import Enum
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from realmkeep.background import STEADY_S
from realmkeep.errors import OutcomeUnknown, RealmkeepError, StorageError
from realmkeep.storage import Committed, Failed, Unknown

if TYPE_CHECKING:
    from realmkeep.background import Background
    from realmkeep.clock import Clock
    from realmkeep.keeping.live.measures import Measures
    from realmkeep.keeping.ownership.loss_probe import LossProbe
    from realmkeep.keeping.writing.staging import StagedWrite, WriteMember
    from realmkeep.storage import Storage, WriteOutcome

# About 100 KiB, and several batches an fsync; to settle 128 took over a millisecond of the event loop of a slow machine. A trade
# counts twice: with 128 trades a batch, 1,024 traders and the store waited for each other.
BATCH_MEMBERS: Final = 96
# Players that commit in step go out in several batches, so that the store executes one while the server packs the next. With
# 64 traders in one batch, store and server waited for each other, at half the rate.
BATCH_WRITES_MIN: Final = 16  # a batch costs about as much by itself as two writes
BATCHES_IN_FLIGHT: Final = 4  # one executed, one on its way there, one on its way back, one being packed
BACKOFF_MIN_S: Final = 0.05
BACKOFF_MAX_S: Final = 2.0


class QueueState(Enum):
    """The state of the queue."""

    FLOWING = "flowing"
    """Batches are sent as they fill."""
    HALTED = "halted"
    """An attempt failed: nothing more is sent, and the batches in flight are awaited."""
    RESOLVING = "resolving"
    """Nothing is in flight, and the resolver reads from the store what landed."""
    CLOSED = "closed"
    """Nothing is sent any more, and no answer counts."""


FLOWING, HALTED, RESOLVING, CLOSED = QueueState
MOVES: Final = {
    FLOWING: (HALTED, CLOSED),
    HALTED: (RESOLVING, CLOSED),
    RESOLVING: (FLOWING, CLOSED),
    CLOSED: (CLOSED,),  # a keeper may be abandoned while it closes
}
"""The states that may follow each state."""


class Trouble(NamedTuple):
    """A write that is not known to be committed, and the outcome of its attempt."""

    write: StagedWrite
    outcome: WriteOutcome


class Resolver(Protocol):
    """Decides the fate of writes that are not known to be committed."""

    async def resolve(self, troubled: list[Trouble], waiting: deque[StagedWrite]) -> list[StagedWrite]:
        """Settle or fail each write, with those of `waiting` that depend on it, or return it to be sent again, in order.

        Raises:
            RealmkeepError: The store cannot be read now, or must not be written; call again.
        """
        ...


class WriteQueue:
    """The ordered, bounded line of writes to the store.

    Attributes:
        resolver: The one call from the queue to a room above; the engine sets it.
    """

    resolver: Resolver

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        loss_probe: LossProbe,
        background: Background,
        measures: Measures,
        *,
        depth_max: int,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._loss_probe = loss_probe
        self._background = background
        self._measures = measures
        self._depth_max = depth_max
        self._waiting: deque[StagedWrite] = deque()
        self._in_flight: deque[list[StagedWrite]] = deque()
        self._sent = 0  # writes in flight; counted, because every commit asks for it
        self._troubled: list[Trouble] = []
        self._pump_scheduled = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = asyncio.Event()
        self._room.set()
        self._empty = asyncio.Event()
        self._empty.set()
        self._state = FLOWING
        self._rounds = 0
        self._order = 0
        self.last_error: RealmkeepError | None = None
        self.trouble_since_s: float | None = None
        self.recoveries = 0

    @property
    def state(self) -> QueueState:
        """The state of the queue."""
        return self._state

    def _move(self, to: QueueState) -> None:
        """Change the state; no other place does.

        Raises:
            AssertionError: That state cannot follow the present one; a defect of Realmkeep.
        """
        if to not in MOVES[self._state]:
            raise AssertionError(f"a queue that is {self._state.value} cannot be {to.value}")
        self._state = to

    @property
    def depth(self) -> int:
        """Writes not known to be durable yet."""
        return len(self._waiting) + self._sent + len(self._troubled)

    @property
    def full(self) -> bool:
        """Whether there is no room for another commit."""
        return self.depth >= self._depth_max

    def oldest(self) -> list[StagedWrite]:
        """Every write not known to be durable yet, oldest first."""
        ahead = [trouble.write for trouble in self._troubled]
        ahead.extend(write for batch in self._in_flight for write in batch)
        ahead.extend(self._waiting)
        return ahead

    @property
    def order(self) -> int:
        """The place of the write that was queued last."""
        return self._order

    @property
    def settled_order(self) -> int:
        """The place up to which the outcome of every write is known."""
        return min((write.order for write in self.oldest()), default=self._order + 1) - 1

    def put(self, write: StagedWrite) -> None:
        """Append a write; it is sent with the others of the same turn of the event loop."""
        self._order += 1
        write.order = self._order
        self._waiting.append(write)
        self._empty.clear()
        self._schedule_pump()

    async def room(self, below: int) -> None:
        """Return when fewer than `below` writes are queued."""
        while self.depth >= below and self._state is not CLOSED:
            self._room.clear()
            await self._room.wait()

    async def drained(self) -> None:
        """Return when the queue is empty."""
        while not self._empty.is_set():
            await self._empty.wait()

    def abandon(self) -> list[StagedWrite]:
        """Send nothing more, and ignore every answer; returns the writes not known to be durable, in their order."""
        self._move(CLOSED)
        for batch in self._in_flight:
            for write in batch:
                write.maybe_applied = True
        left = sorted((write for write in self.oldest() if not write.done), key=attrgetter("order"))
        for task in self._tasks:
            task.cancel()
        self._room.set()
        self._empty.set()
        return left

    def _schedule_pump(self) -> None:
        if not self._pump_scheduled and self._state is FLOWING:
            self._pump_scheduled = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_scheduled = False
        while self._waiting and self._state is FLOWING and len(self._in_flight) < BATCHES_IN_FLIGHT:
            waiting = self._waiting
            share = -(-len(waiting) // (BATCHES_IN_FLIGHT - len(self._in_flight)))
            size = min(max(share, BATCH_WRITES_MIN), len(waiting))
            batch: list[StagedWrite] = []
            members = 0
            while len(batch) < size and members < BATCH_MEMBERS:
                batch.append(write := waiting.popleft())
                members += len(write.members) or 1
            self._in_flight.append(batch)
            self._sent += len(batch)
            self._begun(self._background.run("sending", self._send(batch)))

    def _begun(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, batch: list[StagedWrite]) -> None:
        began_s = self._clock.monotonic_s()
        outcomes = await self._attempt(batch)
        self._measures.round_trip_s.add(self._clock.monotonic_s() - began_s)
        self._measures.batch_writes.add(len(batch))
        self._in_flight.remove(batch)
        self._sent -= len(batch)
        newest: WriteMember | None = None
        for write, outcome in zip(batch, outcomes, strict=True):
            if type(outcome) is Committed:
                newest = write.members[-1] if write.members else newest
                write.settle()
            else:
                write.maybe_applied |= type(outcome) is Unknown
                self._troubled.append(Trouble(write, outcome))
        if self._troubled and self._state is FLOWING:
            self._move(HALTED)
        if newest is not None:
            self.trouble_since_s = None
        self._saw(newest)
        self._advance()

    def _saw(self, newest: WriteMember | None) -> None:
        if newest is not None:
            self._loss_probe.add_sample(newest.session.keys.updated, newest.step.leaves)

    async def _attempt(self, batch: list[StagedWrite]) -> list[WriteOutcome]:
        try:
            return await self._storage.write([write.transaction for write in batch])
        except (RealmkeepError, TypeError, ValueError) as error:
            if len(batch) > 1:  # the driver refused one argument and sent nothing: only its own write shall fail
                return [outcome for write in batch for outcome in await self._attempt([write])]
            refused = (
                error
                if isinstance(error, StorageError)
                else StorageError(f"the store refused a write: {error}", hint="mend the record that on_frozen names")
            )
            return [Unknown(refused) if refused.outcome == "unknown" else Failed(refused)]
        except Exception as error:  # noqa: BLE001 - a defect of the backend: the resolver reads the fate of its writes
            self._background.report_failure("sending", error, lasts_s=STEADY_S, then="; the resolver reads what landed")
            return [Unknown(OutcomeUnknown(f"a write failed: {error!r}", hint="report it")) for _ in batch]

    def _advance(self) -> None:
        """After an answer: send the next batches, or call the resolver once nothing is in flight."""
        if self._state is FLOWING:
            self._over()
            self._pump()
        elif self._state is HALTED and not self._in_flight:
            self._move(RESOLVING)
            self._begun(self._background.run("resolving", self._resolve()))
        self._wake()

    def _over(self) -> None:
        self._rounds = 0
        self.trouble_since_s = None

    def _wake(self) -> None:
        self._room.set()
        if not self._waiting and not self._in_flight and not self._troubled:
            self._empty.set()

    async def _resolve(self) -> None:
        self.recoveries += 1
        if self.trouble_since_s is None:
            self.trouble_since_s = self._clock.monotonic_s()
        self._troubled.sort(key=_by_order)
        self._note_errors()
        while self._state is RESOLVING:
            if self._rounds:
                await self._clock.sleep(self._backoff_s())
            self._rounds += 1
            members = [trouble.write.members for trouble in self._troubled]  # a write that ends forgets its members
            try:
                again = await self.resolver.resolve(self._troubled, self._waiting)
            except RealmkeepError as error:
                self.last_error = error
                continue
            except Exception as error:  # noqa: BLE001 - before the fate of these writes is known, nothing may be sent
                self._background.report_failure("resolving", error, lasts_s=STEADY_S, then="; it is tried again")
                continue
            landed = [of for of, trouble in zip(members, self._troubled, strict=True) if of and trouble.write.landed]
            self._saw(landed[-1][-1] if landed else None)
            self._troubled = []
            self._waiting.extendleft(reversed(again))
            self._move(FLOWING)
            if not again:
                self._over()
            self._pump()
            self._wake()
            return

    def _note_errors(self) -> None:
        for trouble in self._troubled:
            if isinstance(trouble.outcome, (Failed, Unknown)):
                self.last_error = trouble.outcome.error
                return

    def _backoff_s(self) -> float:
        longest = min(BACKOFF_MIN_S * 2 ** min(self._rounds, 10), BACKOFF_MAX_S)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - jitter: servers must not retry in step


def _by_order(trouble: Trouble) -> int:
    return trouble.write.order
