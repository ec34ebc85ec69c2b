"""A store behind a faulty connection: the faults that a caller must survive, scripted or random from a seed."""

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
from realmkeep.storage.protocol import AnyTransaction, Capability, Failed, Storage, Unknown, WriteOutcome

T = TypeVar("T")

READS: Final = frozenset({"run_id", "load", "load_many", "load_list", "expiries", "exists", "keys"})
CHANGES: Final = frozenset({"write", "increment", "flush", "save", "delete", "snapshot", "sweep_temp"})


@dataclass(frozen=True)
class Fault:
    """The fault of one call; by default none.

    Attributes:
        delay_s: The time until the request reaches the store. Later calls wait too, because they share the connection.
        reply_delay_s: The time until the reply arrives.
        rejected: The error with which the store answers instead of executing the request.
        reaches: The number of transactions of a `write` that reach the store before the connection breaks (None: all). A
            call of another method reaches it unless this is 0.
        answered: The number of outcomes of a `write` that come back before the connection breaks (None: all that reached
            the store). A call of another method is answered unless this is 0.
        arrives_s: The seconds after which the whole request arrives (again, if it had reached the store), even if its
            caller has given up.
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
    """The store rejects the request: no effect happened, and the caller knows."""
    return Fault(rejected=error or StorageUnavailable("the store is loading", hint="wait"))


def delay(to_store_s: float, back_s: float = 0.0) -> Fault:
    """The request and the reply arrive late."""
    return Fault(delay_s=to_store_s, reply_delay_s=back_s)


def cut(*, reaches: int, answered: int = 0) -> Fault:
    """The connection breaks within a batch: `reaches` transactions reach the store, `answered` outcomes come back."""
    return Fault(reaches=reaches, answered=answered)


def late(arrives_s: float) -> Fault:
    """The caller gives up, and the request arrives `arrives_s` seconds later on its old connection."""
    return Fault(reaches=0, arrives_s=arrives_s)


def duplicate(arrives_s: float) -> Fault:
    """The request is applied, its reply is lost, and `arrives_s` seconds later it is applied again."""
    return Fault(answered=0, arrives_s=arrives_s)


FaultPlan = Callable[[str], Fault]


def seeded_faults(seed: int, *, rate: float, delay_s_max: float = 0.05, late_s_max: float = 5.0) -> FaultPlan:
    """Return a plan that delays every call and gives it a fault with the probability `rate`; repeatable by its seed.

    Args:
        seed: The seed of the choices.
        rate: The probability of a fault, from 0 to 1.
        delay_s_max: The longest delay in each direction, in seconds.
        late_s_max: The longest delay of a request that arrives late or twice, in seconds.
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
    """A store that can be set back to an earlier state, such as `realmkeep.storage.memory.MemoryStore`."""

    def snapshot(self) -> Any:
        """Return a copy of the contents."""
        ...

    def restore(self, contents: Any, /) -> None:
        """Put the contents back."""
        ...


class FaultyStorage:
    """Any `Storage` behind a faulty connection; like a network client, it keeps the invariants of the protocol.

    It is deterministic with a `FakeClock`, one event loop and an inner store without threads. Faults come first from
    `script`, then from `plan`.

    Args:
        inner: The storage that executes the calls; connect and disconnect pass through.
        clock: The clock for delays.
        store: The store for `remember` and `crash`; usually the `MemoryStore` of `inner`.

    Attributes:
        plan: Returns the fault of each call that `script` does not cover.
        down: While True, the store is unreachable: new calls are refused, requests and replies under way are lost.
        calls: The number of calls of each method.
        late_results: The results of requests that arrived late: outcomes, a result, or the error.
    """

    def __init__(self, inner: Storage, *, clock: Clock, store: Rewindable | None = None) -> None:
        self.plan: FaultPlan = lambda _: NONE
        self.down = False
        self.calls: Counter[str] = Counter()
        self.late_results: list[object] = []
        self._inner = inner
        self._clock = clock
        self._store = store
        self._remembered = store.snapshot() if store else None
        self._scripted: dict[str, deque[Fault]] = {method: deque() for method in READS | CHANGES}
        self._line = asyncio.Lock()  # a fair lock: calls arrive in the order in which they started
        self._under_way: set[asyncio.Task[Any]] = set()

    def script(self, method: str, *faults: Fault) -> None:
        """Give the next calls of `method` these faults, in order."""
        self._scripted[method].extend(faults)

    def remember(self) -> None:
        """Make the store's contents durable, as an fsync does: `crash` goes back to this point.

        Raises:
            TypeError: The object was made without `store`.
        """
        self._remembered = self._rewindable().snapshot()

    def crash(self) -> None:
        """Set the store back to the last `remember`, as a crash would; it is `down` until the test sets that to False.

        Raises:
            TypeError: The object was made without `store`.
        """
        self._rewindable().restore(self._remembered)
        self.down = True

    @property
    def capability(self) -> Capability:
        """The capability of the inner store."""
        return self._inner.capability

    async def connect(self) -> None:
        """Connect the inner store, unless `down` is set."""
        self._check_up()
        await self._inner.connect()

    async def disconnect(self) -> None:
        """Wait for the calls under way, then disconnect the inner store; later requests have no effect."""
        while self._under_way:
            await asyncio.wait(self._under_way)
        await self._inner.disconnect()

    async def write(self, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
        """Write through the fault: part of the batch may be lost, and part of the outcomes."""
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
        """Call the inner store, or raise OutcomeUnknown."""
        return await self._change("increment", lambda: self._inner.increment(key, by))

    async def save(self, key: str, value: bytes) -> None:
        """Call the inner store, or raise OutcomeUnknown."""
        await self._change("save", lambda: self._inner.save(key, value))

    async def delete(self, key: str) -> bool:
        """Call the inner store, or raise OutcomeUnknown."""
        return await self._change("delete", lambda: self._inner.delete(key))

    async def flush(self) -> None:
        """Flush the inner store after all accepted calls, or raise StorageUnavailable.

        Later calls do not wait for it: a store that fsyncs by itself answers meanwhile.
        """
        with _unavailable_if_lost():
            await self._change("flush", self._nothing)
            await self._inner.flush()
            if self.down:
                raise _lost()

    async def snapshot(self) -> None:
        """Call the inner store, or raise StorageUnavailable."""
        with _unavailable_if_lost():
            await self._change("snapshot", self._inner.snapshot)

    async def sweep_temp(self, *, older_than_s: float = 3600.0) -> int:
        """Call the inner store, or raise StorageUnavailable."""
        with _unavailable_if_lost():
            return await self._change("sweep_temp", lambda: self._inner.sweep_temp(older_than_s=older_than_s))

    async def run_id(self) -> str:
        """Call the inner store, or raise StorageUnavailable."""
        return await self._read("run_id", self._inner.run_id)

    async def load(self, key: str) -> bytes | None:
        """Call the inner store, or raise StorageUnavailable."""
        return await self._read("load", lambda: self._inner.load(key))

    async def load_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Call the inner store, or raise StorageUnavailable."""
        return await self._read("load_many", lambda: self._inner.load_many(keys))

    async def load_list(self, key: str, *, start: int = 0, count: int | None = None) -> list[bytes]:
        """Call the inner store, or raise StorageUnavailable."""
        return await self._read("load_list", lambda: self._inner.load_list(key, start=start, count=count))

    async def expiries(self, keys: Sequence[str]) -> list[float | None]:
        """Call the inner store, or raise StorageUnavailable."""
        return await self._read("expiries", lambda: self._inner.expiries(keys))

    async def exists(self, key: str) -> bool:
        """Call the inner store, or raise StorageUnavailable."""
        return await self._read("exists", lambda: self._inner.exists(key))

    async def keys(self, pattern: str = "*") -> AsyncIterator[str]:
        """Iterate over the inner store's keys; a fault strikes before the first key, `down` at any."""
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
        """Send a request; a cancelled caller does not stop it."""
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
            request.exception()  # retrieve it, because no caller waits for an abandoned request

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
