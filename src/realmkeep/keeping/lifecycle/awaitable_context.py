"""A coroutine that may be awaited, or entered with `async with` at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, final

from typing_extensions import override

if TYPE_CHECKING:
    from types import TracebackType

T = TypeVar("T", bound=AbstractAsyncContextManager[Any])
P = ParamSpec("P")


@final
class AwaitableContext(Coroutine[Any, Any, T], AbstractAsyncContextManager[T]):
    """A coroutine that gives a context manager; `async with Keeper.open(...)` awaits and enters it.

    Args:
        coroutine: Opens it. Unawaited it warns, as any coroutine.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, T]) -> None:
        self._coroutine = coroutine
        self._opened: T | None = None

    @override
    def __await__(self) -> Generator[Any, Any, T]:
        return self._coroutine.__await__()

    @override
    async def __aenter__(self) -> T:
        self._opened = await self._coroutine
        await self._opened.__aenter__()
        return self._opened

    @override
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        assert self._opened is not None  # `async with` has entered
        return await self._opened.__aexit__(kind, error, trace)

    @override
    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    @override
    def throw(self, *error: Any) -> Any:
        return self._coroutine.throw(*error)

    @override
    def close(self) -> None:
        self._coroutine.close()


def awaitable_context(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, AwaitableContext[T]]:
    """Let the result of a coroutine function be entered without an `await`."""

    @functools.wraps(function)
    def open_(*args: P.args, **kwargs: P.kwargs) -> AwaitableContext[T]:
        return AwaitableContext(function(*args, **kwargs))

    return open_
