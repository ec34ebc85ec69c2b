"""What the contract suite needs to know about the backend it judges, and the words its tests are written in."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Coroutine, Generator
from typing import Any, ClassVar, Generic, TypeVar

import pytest
import pytest_asyncio

from realmkeep.clock import Clock
from realmkeep.storage.protocol import Append, Committed, Delete, Effect, Guard, Need, Put, Storage, Transaction

T = TypeVar("T")


class Backend(ABC):
    """One empty store, and how to open it.

    Args:
        clock: The clock that the storage objects get.

    Attributes:
        opens_twice: Whether two objects may have the store open at the same time; otherwise the second is refused with
            `StorageLocked`.
        histories: How many random histories to try; fewer where connecting takes long.
    """

    opens_twice: ClassVar[bool]
    histories: ClassVar[int] = 40

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    @abstractmethod
    def new(self) -> Storage:
        """An object on the store, not connected; every call gives another object on the same store."""

    @abstractmethod
    async def elapse(self, seconds: float) -> None:
        """Return when at least `seconds` have passed on the clock by which the store expires keys."""


class ContractTests:
    """Gives the tests of a subclass their store.

    A backend overrides the fixture `backend`; everything it opens here is closed again.
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
    """If all guards hold, then the effects."""
    return Transaction(guards, then)


def needing(*needs: Need, guards: tuple[Guard, ...] = (), then: tuple[Effect, ...] = ()) -> Transaction:
    """If all guards and all needs hold, then the effects."""
    return Transaction(guards, then, needs)


def do(*effects: Effect) -> Transaction:
    """The effects, unconditionally."""
    return Transaction((), effects)


async def commit(storage: Storage, *effects: Effect) -> None:
    """Apply effects that nothing can refuse."""
    (outcome,) = await storage.write([do(*effects)])
    assert isinstance(outcome, Committed), outcome


async def hold_both(storage: Storage) -> None:
    """A value at `value` and a list of two at `list`."""
    await commit(storage, Put("value", b"v"), Append("list", b"a"), Append("list", b"b"))


async def assert_both_untouched(storage: Storage) -> None:
    """What `hold_both` left is there."""
    assert await storage.load("value") == b"v"
    assert await storage.load_list("list") == [b"a", b"b"]


async def all_keys(storage: Storage, pattern: str = "*") -> list[str]:
    """The keys that match, sorted, as often as they were seen."""
    return sorted([key async for key in storage.keys(pattern)])


async def clear(storage: Storage, *keys: str) -> None:
    """Delete keys."""
    await commit(storage, *(Delete(key) for key in keys))


class CancelAt(Generic[T]):
    """Awaits a coroutine, and cancels the task that does so at its `suspension`-th suspension, counted from 0."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], suspension: int) -> None:
        self._steps = coroutine.__await__()
        self._left = suspension

    def __await__(self) -> Generator[Any, Any, T]:
        """Pass everything through, and count."""
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
            except BaseException as error:  # noqa: BLE001 - a cancellation, which is passed on
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
