"""Notices when an event loop is idle: it could go on only if the test's own clock did.

This works with asyncio's own selector loops; on any other loop it notices nothing.
"""

import asyncio
import selectors
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast

SELF_PIPE: Final = 1  # threads and signals wake the loop through it; every loop has one


class _IdleSelector:
    """A selector that calls `idle` before it would wait for ever, and otherwise passes calls on to the original.

    Args:
        original: The loop's own selector.
        run: The loop's own `run_in_executor`.

    Attributes:
        idle: The functions to call; see `when_idle`.
    """

    def __init__(self, original: selectors.BaseSelector, run: Callable[..., asyncio.Future[Any]]) -> None:
        self.original = original
        self.run = run
        self.idle: list[Callable[[], None]] = []
        self._working: set[asyncio.Future[Any]] = set()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Select as the original does, without waiting if `idle` was called, because it makes a callback ready."""
        if timeout is None and not self._working and len(self.get_map()) <= SELF_PIPE:
            self._call_idle()
            timeout = 0
        return self.original.select(timeout)

    def _call_idle(self) -> None:
        given_up: list[Exception] = []
        for idle in self.idle:
            try:
                idle()
            except Exception as error:  # noqa: BLE001 - raised below, unless another function goes on
                given_up.append(error)
        if len(given_up) == len(self.idle):
            raise given_up[0]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return the registered files."""
        return self.original.get_map() or {}

    def run_in_executor(self, *args: Any) -> asyncio.Future[Any]:
        """Run in the loop's executor, and remember the future until it is done."""
        future = self.run(*args)
        self._working.add(future)
        future.add_done_callback(self._working.discard)
        return future

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


@contextmanager
def when_idle(idle: Callable[[], None]) -> Generator[None]:
    """Call `idle` whenever the running loop would wait for ever.

    That is: no callback is ready, no timer of the loop runs, no work is under way in the loop's threads, and no socket or
    pipe is open on it. An exception of `idle` ends the loop's run.

    Args:
        idle: Makes a callback ready, or raises. If several are registered, an exception counts once all of them raise.
    """
    loop = asyncio.get_running_loop()
    if "_selector" not in vars(loop):
        yield
        return
    parts = cast("Any", loop)
    if not isinstance(parts._selector, _IdleSelector):  # noqa: SLF001 - there is no public way
        parts._selector = _IdleSelector(parts._selector, parts.run_in_executor)  # noqa: SLF001 - as above
        parts.run_in_executor = parts._selector.run_in_executor  # noqa: SLF001 - as above
    watching: _IdleSelector = parts._selector  # noqa: SLF001 - as above
    watching.idle.append(idle)
    try:
        yield
    finally:
        watching.idle.remove(idle)
        if not watching.idle:
            parts._selector, parts.run_in_executor = watching.original, watching.run  # noqa: SLF001 - as above
