"""A store with a bad line in front of it: what a caller must survive, on command or from a seed."""

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from realmkeep.clock import Clock
from realmkeep.errors import OutcomeUnknown, StorageError, StorageUnavailable
from realmkeep.storage.limits import check_transactions
from realmkeep.storage.protocol import Capability, Failed, Storage, Transaction, Unknown, WriteOutcome

T = TypeVar("T")

READS: Final = frozenset({"run_id", "load", "load_many", "load_list", "exists", "keys"})
CHANGES: Final = frozenset({"write", "increment", "flush", "save", "delete", "snapshot", "sweep_temp"})


@dataclass(frozen=True)
class Fault:
    """What happens to one call. Without arguments: nothing.

    Attributes:
        delay_s: How long it takes to the store; the calls behind it wait, too, because the line is one.
        reply_delay_s: How long the reply takes.
        rejected: The store answers with this instead of executing it.
        reaches: How many transactions of a `write` reach the store before the line is cut (None: all). Any other call
            reaches it unless this is 0.
        answered: How many outcomes of a `write` come back before the line is cut (None: all that reached it). Any other
            call is answered unless this is 0.
        arrives_s: The whole request arrives (again, if it had reached the store) this much later, whoever waits for it.
    """

    delay_s: float = 0.0
    reply_delay_s: float = 0.0
    rejected: StorageError | None = None
    reaches: int | None = None
    answered: int | None = None
    arrives_s: float | None = None


NONE: Final = Fault()
LOSE_REQUEST: Final = Fault(reaches=0)
LOSE_REPLY: Final = Fault(answered=0)


def reject(error: StorageError | None = None) -> Fault:
    """The store does not execute it: nothing happened, and the caller knows."""
    return Fault(rejected=error or StorageUnavailable("the store is loading", hint="wait"))


def delay(to_store_s: float, back_s: float = 0.0) -> Fault:
    """It takes its time."""
    return Fault(delay_s=to_store_s, reply_delay_s=back_s)


def cut(*, reaches: int, answered: int = 0) -> Fault:
    """The line breaks in the middle of a batch: so many transactions get through, so many outcomes come back."""
    return Fault(reaches=reaches, answered=answered)


def late(arrives_s: float) -> Fault:
    """The caller gives up on it; on its old connection it arrives that much later."""
    return Fault(reaches=0, arrives_s=arrives_s)


def duplicate(arrives_s: float) -> Fault:
    """It is applied, its reply is lost, and that much later it is applied once more."""
    return Fault(answered=0, arrives_s=arrives_s)


Plan = Callable[[str], Fault]


def seeded(seed: int, *, rate: float, delay_s_max: float = 0.05, late_s_max: float = 5.0) -> Plan:
    """A plan that gives each call a fault with the probability `rate`, and a delay anyway; the same for the same seed.

    Args:
        seed: Of the choices.
        rate: From 0 to 1.
        delay_s_max: Of each direction, in seconds.
        late_s_max: Of a request that arrives late or twice, in seconds.
    """
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose

    def plan(_method: str) -> Fault:
        to_store_s, back_s = chance.uniform(0, delay_s_max), chance.uniform(0, delay_s_max)
        if chance.random() >= rate:
            return delay(to_store_s, back_s)
        reaches = chance.randrange(4)
        kinds = (
            reject(),
            LOSE_REQUEST,
            LOSE_REPLY,
            cut(reaches=reaches, answered=chance.randint(0, reaches)),
            late(chance.uniform(0, late_s_max)),
            duplicate(chance.uniform(0, late_s_max)),
        )
        return chance.choice(kinds)

    return plan


class Rewindable(Protocol):
    """A store that can be made what it was, such as `realmkeep.storage.memory.MemoryStore`."""

    def snapshot(self) -> Any:
        """Everything in it."""
        ...

    def restore(self, contents: Any, /) -> None:
        """Make it so again."""
        ...


class FaultyStorage:
    """Any `Storage` behind a line that fails; keeps the invariants of the protocol, as a network client does.

    Deterministic with a `FakeClock`, one event loop and an inner store without threads. Faults come first from `script`,
    then from `plan`.

    Args:
        inner: Where calls go; connect and disconnect pass through.
        clock: By which delays are counted.
        store: What `remember` and `crash` take back; usually the `MemoryStore` of `inner`.

    Attributes:
        plan: Decides on the fault of each call that `script` says nothing about.
        down: While True nothing gets through: new calls are refused, what is on its way is lost.
        calls: How often each method was called.
        late_results: What came of each request that arrived late: outcomes, a result, or the error.
    """

    def __init__(self, inner: Storage, *, clock: Clock, store: Rewindable | None = None) -> None:
        self.plan: Plan = lambda _: NONE
        self.down = False
        self.calls: Counter[str] = Counter()
        self.late_results: list[object] = []
        self._inner = inner
        self._clock = clock
        self._store = store
        self._remembered = store.snapshot() if store else None
        self._scripted: dict[str, deque[Fault]] = {method: deque() for method in READS | CHANGES}
        self._line = asyncio.Lock()  # fair, so calls arrive in the order in which they started
        self._under_way: set[asyncio.Task[Any]] = set()

    def script(self, method: str, *faults: Fault) -> None:
        """The next calls of `method` meet these faults, in order."""
        self._scripted[method].extend(faults)

    def remember(self) -> None:
        """The store makes all it holds durable, as an fsync does: `crash` goes back to here.

        Raises:
            TypeError: It was made without `store`.
        """
        self._remembered = self._rewindable().snapshot()

    def crash(self) -> None:
        """The store dies and comes back as it was at the last `remember`; it is `down` until that is set to False.

        Raises:
            TypeError: It was made without `store`.
        """
        self._rewindable().restore(self._remembered)
        self.down = True

    @property
    def capability(self) -> Capability:
        """That of the inner store."""
        return self._inner.capability

    async def connect(self) -> None:
        """Connect the inner store, unless the line is down."""
        self._check_up()
        await self._inner.connect()

    async def disconnect(self) -> None:
        """Wait for what is under way, then disconnect the inner store; late requests come to nothing after that."""
        while self._under_way:
            await asyncio.wait(self._under_way)
        await self._inner.disconnect()

    async def write(self, transactions: Sequence[Transaction]) -> list[WriteOutcome]:
        """As the inner store does, as far as the line lets the batch and its outcomes through."""
        check_transactions(transactions)
        batch = tuple(transactions)
        fault = self._next_fault("write")
        try:
            outcomes = await self._send(
                fault, lambda: self._inner.write(batch[: fault.reaches]), lambda: self._inner.write(batch)
            )
        except OutcomeUnknown as error:
            return [Unknown(error)] * len(batch)
        except StorageError as error:
            return [Failed(error)] * len(batch)
        answered = outcomes[: fault.answered]
        return answered + [Unknown(_lost())] * (len(batch) - len(answered))

    async def increment(self, key: str, by: int = 1) -> int:
        """As the inner store, or OutcomeUnknown."""
        return await self._change("increment", lambda: self._inner.increment(key, by))

    async def save(self, key: str, value: bytes) -> None:
        """As the inner store, or OutcomeUnknown."""
        await self._change("save", lambda: self._inner.save(key, value))

    async def delete(self, key: str) -> bool:
        """As the inner store, or OutcomeUnknown."""
        return await self._change("delete", lambda: self._inner.delete(key))

    async def flush(self) -> None:
        """As the inner store, behind everything that was accepted before; or StorageUnavailable.

        Nothing else waits behind it: a store that fsyncs by itself answers meanwhile.
        """
        with _unavailable_if_lost():
            await self._change("flush", self._nothing)
            await self._inner.flush()
            if self.down:
                raise _lost()

    async def snapshot(self) -> None:
        """As the inner store, or StorageUnavailable."""
        with _unavailable_if_lost():
            await self._change("snapshot", self._inner.snapshot)

    async def sweep_temp(self, *, older_than_s: float = 3600.0) -> int:
        """As the inner store, or StorageUnavailable."""
        with _unavailable_if_lost():
            return await self._change("sweep_temp", lambda: self._inner.sweep_temp(older_than_s=older_than_s))

    async def run_id(self) -> str:
        """As the inner store, or StorageUnavailable."""
        return await self._read("run_id", self._inner.run_id)

    async def load(self, key: str) -> bytes | None:
        """As the inner store, or StorageUnavailable."""
        return await self._read("load", lambda: self._inner.load(key))

    async def load_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """As the inner store, or StorageUnavailable."""
        return await self._read("load_many", lambda: self._inner.load_many(keys))

    async def load_list(self, key: str, *, start: int = 0, count: int | None = None) -> list[bytes]:
        """As the inner store, or StorageUnavailable."""
        return await self._read("load_list", lambda: self._inner.load_list(key, start=start, count=count))

    async def exists(self, key: str) -> bool:
        """As the inner store, or StorageUnavailable."""
        return await self._read("exists", lambda: self._inner.exists(key))

    async def keys(self, pattern: str = "*") -> AsyncIterator[str]:
        """As the inner store; its fault strikes before the first key, `down` at any."""
        await self._read("keys", self._nothing)
        async for key in self._inner.keys(pattern):
            self._check_up()
            yield key

    async def _nothing(self) -> None:
        pass

    def _next_fault(self, method: str) -> Fault:
        self.calls[method] += 1
        scripted = self._scripted[method]
        return scripted.popleft() if scripted else self.plan(method)

    async def _change(self, method: str, do: Callable[[], Coroutine[Any, Any, T]]) -> T:
        fault = self._next_fault(method)
        return await self._send(fault, partial(_through, fault, do), do)

    async def _read(self, method: str, do: Callable[[], Coroutine[Any, Any, T]]) -> T:
        fault = self._next_fault(method)
        with _unavailable_if_lost():
            return await self._travel(fault, partial(_through, fault, do), do)

    async def _send(
        self, fault: Fault, do: Callable[[], Coroutine[Any, Any, T]], again: Callable[[], Coroutine[Any, Any, object]]
    ) -> T:
        """Send a request down the line; whoever waits for it may be cancelled, the request goes on."""
        self._check_up()
        return await asyncio.shield(self._track(self._travel(fault, do, again, self._line)))

    def _track(self, request: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(request)
        self._under_way.add(task)
        task.add_done_callback(self._arrived)
        return task

    def _arrived(self, request: "asyncio.Task[Any]") -> None:
        self._under_way.discard(request)
        if not request.cancelled():
            request.exception()  # an abandoned request has nobody to tell

    async def _travel(
        self,
        fault: Fault,
        do: Callable[[], Coroutine[Any, Any, T]],
        again: Callable[[], Coroutine[Any, Any, object]],
        line: AbstractAsyncContextManager[object] | None = None,
    ) -> T:
        self._check_up()
        async with line or nullcontext():
            if fault.delay_s:
                await self._clock.sleep(fault.delay_s)
            if self.down:
                raise _lost()
            if fault.rejected is not None:
                raise fault.rejected
            if fault.arrives_s is not None:
                self._clock.call_later(fault.arrives_s, lambda: self._track(self._arrive_late(again)))
            result = await do()
        if fault.reply_delay_s:
            await self._clock.sleep(fault.reply_delay_s)
        if self.down:
            raise _lost()
        return result

    async def _arrive_late(self, again: Callable[[], Coroutine[Any, Any, object]]) -> None:
        if self.down:
            return  # the old connection died with the store
        try:
            self.late_results.append(await again())
        except StorageError as error:
            self.late_results.append(error)

    def _check_up(self) -> None:
        if self.down:
            raise StorageUnavailable("the store is down", hint="wait until it is up")

    def _rewindable(self) -> Rewindable:
        if self._store is None:
            raise TypeError("FaultyStorage has nothing to rewind: pass the store, such as a MemoryStore, as `store`")
        return self._store


async def _through(fault: Fault, do: Callable[[], Coroutine[Any, Any, T]]) -> T:
    if fault.reaches == 0:
        raise _lost()
    result = await do()
    if fault.answered == 0:
        raise _lost()
    return result


def _lost() -> OutcomeUnknown:
    return OutcomeUnknown("the line broke before the reply", hint="read, then write again what did not land")


@contextmanager
def _unavailable_if_lost() -> Generator[None]:
    try:
        yield
    except OutcomeUnknown as error:
        raise StorageUnavailable("the line broke before the reply", hint="ask again") from error
