"""The description of a backend for the contract suite, and the vocabulary of its tests."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Generator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Generic, TypeVar

import pytest
import pytest_asyncio

from realmkeep.clock import Clock
from realmkeep.storage.protocol import Append, Committed, Delete, Effect, Guard, Need, Put, Storage, Transaction

T = TypeVar("T")


class Backend(ABC):
    """One empty store, and the way to open it.

    Args:
        clock: The clock for the storage objects.

    Attributes:
        opens_twice: Two objects may have the store open at the same time; if False, the second is refused with
            `StorageLocked`.
        histories: The number of random histories to try; choose fewer if connecting takes long.
    """

    opens_twice: ClassVar[bool]
    histories: ClassVar[int] = 40

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    @abstractmethod
    def new(self) -> Storage:
        """Return a new object on the store, not connected; all objects share the same store."""

    @abstractmethod
    async def elapse(self, seconds: float) -> None:
        """Return when at least `seconds` have passed on the clock of the store's expiries."""


class ContractTests:
    """Gives the tests of a subclass their store.

    A backend overrides the fixture `backend`; the storage objects opened here are closed here.
    """

    pytestmark: ClassVar = [pytest.mark.asyncio]

    @pytest.fixture
    def backend(self) -> Backend:
        """The store under test: override it."""
        raise NotImplementedError("override the fixture `backend` with one that returns or yields a Backend")

    @pytest_asyncio.fixture
    async def storage(self, backend: Backend) -> AsyncIterator[Storage]:
        """A connected object on the store."""
        storage = backend.new()
        await storage.connect()
        yield storage
        await storage.disconnect()


def when(*guards: Guard, then: tuple[Effect, ...] = ()) -> Transaction:
    """Make a transaction of guards and effects."""
    return Transaction(guards, then)


def needing(*needs: Need, guards: tuple[Guard, ...] = (), then: tuple[Effect, ...] = ()) -> Transaction:
    """Make a transaction of guards, needs and effects."""
    return Transaction(guards, then, needs)


def do(*effects: Effect) -> Transaction:
    """Make a transaction of effects alone."""
    return Transaction((), effects)


async def commit(storage: Storage, *effects: Effect) -> None:
    """Apply effects unconditionally."""
    (outcome,) = await storage.write([do(*effects)])
    assert isinstance(outcome, Committed), outcome


async def put_both(storage: Storage) -> None:
    """Put a value at `value` and a list of two entries at `list`."""
    await commit(storage, Put("value", b"v"), Append("list", b"a"), Append("list", b"b"))


async def assert_both_untouched(storage: Storage) -> None:
    """Check that the keys of `put_both` are unchanged."""
    assert await storage.load("value") == b"v"
    assert await storage.load_list("list") == [b"a", b"b"]


async def all_keys(storage: Storage, pattern: str = "*") -> list[str]:
    """Return the keys that match, sorted, with repetitions."""
    return sorted([key async for key in storage.keys(pattern)])


async def clear(storage: Storage, *keys: str) -> None:
    """Delete keys."""
    await commit(storage, *(Delete(key) for key in keys))


@asynccontextmanager
async def rivals(storage: Storage, backend: Backend) -> AsyncGenerator[tuple[Storage, Storage]]:
    """Two objects on the store, connected; a store that opens only once has the tasks of its one object as rivals."""
    if not backend.opens_twice:
        yield storage, storage
        return
    other = backend.new()
    await other.connect()
    try:
        yield storage, other
    finally:
        await other.disconnect()


class CancelAt(Generic[T]):
    """Awaits a coroutine, and cancels the awaiting task at its `suspension`-th suspension, counted from 0."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], suspension: int) -> None:
        self._steps = coroutine.__await__()
        self._left = suspension

    def __await__(self) -> Generator[Any, Any, T]:
        """Pass each step through, and count the suspensions."""
        thrown: BaseException | None = None
        while True:
            try:
                waited_for: Any = self._steps.throw(thrown) if thrown else self._steps.send(None)
            except StopIteration as stop:
                return stop.value
            if self._left == 0 and (task := asyncio.current_task()):
                task.cancel()
            self._left -= 1
            try:
                yield waited_for
                thrown = None
            except BaseException as error:  # noqa: BLE001 - a cancellation; passed on
                thrown = error


async def cancelled_at(coroutine: Coroutine[Any, Any, T], suspension: int) -> bool:
    """Run `coroutine` in a task of its own and cancel it at its nth suspension; False if it ended before."""

    async def run() -> T:
        return await CancelAt(coroutine, suspension)

    (result,) = await asyncio.gather(asyncio.create_task(run()), return_exceptions=True)
    if isinstance(result, asyncio.CancelledError):
        return True
    if isinstance(result, BaseException):
        raise result
    return False
