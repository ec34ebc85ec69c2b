"""Searches of the store: each goes on where it stopped, so no page waits for the rest of the store."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from realmkeep.clock import Clock

T = TypeVar("T")

PAGE_ROWS: Final = 50
LOOK_S: Final = 0.3  # a page looks no longer: it shows what was found, and the search goes on
GLANCE_S: Final = 0.05  # for a page that has its answer already
KEPT_MAX: Final = 16  # searches that can go on
FOUND_MAX: Final = 10_000  # of one search; beyond it, a longer prefix is wanted
LITERAL: Final = str.maketrans({each: f"\\{each}" for each in "*?\\"})  # in a pattern of `Storage.keys`


class FoundPage(NamedTuple, Generic[T]):
    """One page of a search.

    Attributes:
        rows: The things on it.
        more: There is a next page.
        looking: The search has not ended, and this page is not full: it may have more in a moment.
    """

    rows: list[T]
    more: bool
    looking: bool


class _Search(Generic[T]):
    """One search. At most one step of it is under way: the one to the next thing found."""

    def __init__(self, found: AsyncIterator[T]) -> None:
        self._found = found
        self._rows: list[T] = []
        self._step: asyncio.Task[T | None] | None = None
        self._turn = asyncio.Lock()
        self._ended = False

    async def page(self, number: int, clock: Clock, look_s: float) -> FoundPage[T]:
        first, last = number * PAGE_ROWS, (number + 1) * PAGE_ROWS
        try:
            async with clock.timeout(look_s), self._turn:
                while len(self._rows) <= last and not self._ended:
                    await self._look()
        except TimeoutError:
            pass  # the step goes on, and the next page finds its result
        rows = self._rows[first:last]
        return FoundPage(rows, len(self._rows) > last, not self._ended and len(self._rows) <= last)

    @property
    def is_under_way(self) -> bool:
        """Whether a step of it is; a search of several operators is one."""
        return self._step is not None and not self._step.done()

    async def _look(self) -> None:
        if self._step is None:
            self._step = asyncio.create_task(self._next(), name="search of the console")
            self._step.add_done_callback(_drop)
        step = self._step
        await asyncio.wait({step})  # a page that is over leaves it alone
        self._step = None
        found = None if step.cancelled() else step.result()  # others have pushed it out meanwhile
        if found is None:
            self._ended = True
        else:
            self._rows.append(found)
            self._ended = len(self._rows) >= FOUND_MAX

    async def _next(self) -> T | None:
        return await anext(self._found, None)

    def end(self) -> None:
        if self._step is not None:
            self._step.cancel()


def _drop(step: asyncio.Task[object]) -> None:
    """Take the exception of a step, also if no page asks for its result any more."""
    if not step.cancelled():
        step.exception()


class Searches:
    """The last searches at one console.

    Args:
        clock: The clock.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, ...], _Search[str]] = {}

    async def page(
        self,
        name: tuple[str, ...],
        begin: Callable[[], AsyncIterator[str]],
        number: int,
        *,
        anew: bool,
        look_s: float = LOOK_S,
    ) -> FoundPage[str]:
        """A page of a search.

        Args:
            name: Names the search.
            begin: Begins it.
            number: 0 for the first page.
            anew: Begin it anew, unless a step of it is under way.
            look_s: The longest wait, in seconds.

        Raises:
            StorageError: The store cannot be reached.
        """
        kept = self._kept.get(name)
        if kept is None or (anew and not kept.is_under_way):
            self._forget(name)
            while len(self._kept) >= KEPT_MAX:
                self._forget(next(iter(self._kept)))
            self._kept[name] = _Search(begin())
        try:
            return await self._kept[name].page(number, self._clock, look_s)
        except Exception:
            self._forget(name)  # its iterator has ended
            raise

    def _forget(self, name: tuple[str, ...]) -> None:
        if (search := self._kept.pop(name, None)) is not None:
            search.end()
