"""Notices when nothing on an event loop can happen any more unless a clock of the test's own goes on.

Only asyncio's own loops with a selector can be asked; on any other loop nothing is noticed.
"""

import asyncio
import selectors
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final, cast

SELF_PIPE: Final = 1  # by which threads and signals wake the loop; every loop has it


class _Watching:
    """A selector that asks before it would wait for ever; everything else is the original's.

    Args:
        original: The loop's own.
        run: The loop's own way to work in threads.

    Attributes:
        idle: What is asked; see `when_idle`.
    """

    def __init__(self, original: selectors.BaseSelector, run: Callable[..., asyncio.Future[Any]]) -> None:
        self.original = original
        self.run = run
        self.idle: list[Callable[[], None]] = []
        self._working: set[asyncio.Future[Any]] = set()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As the original's, but what one of `idle` has made ready does not wait."""
        if timeout is None and not self._working and len(self.get_map()) <= SELF_PIPE:
            self._ask()
            timeout = 0
        return self.original.select(timeout)

    def _ask(self) -> None:
        given_up: list[Exception] = []
        for idle in self.idle:
            try:
                idle()
            except Exception as error:  # noqa: BLE001 - raised below, unless another goes on
                given_up.append(error)
        if len(given_up) == len(self.idle):
            raise given_up[0]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """What is registered."""
        return self.original.get_map() or {}

    def run_in_executor(self, *args: Any) -> asyncio.Future[Any]:
        """As the loop's own, and remembered until it is done."""
        future = self.run(*args)
        self._working.add(future)
        future.add_done_callback(self._working.discard)
        return future

    def __getattr__(self, name: str) -> Any:
        return getattr(self.original, name)


@contextmanager
def when_idle(idle: Callable[[], None]) -> Generator[None]:
    """Call `idle` whenever the running loop would wait for ever.

    That is: no callback is ready, no timer of the loop's own runs, no work is under way in a thread that the loop was
    asked to run, and no socket or pipe is open on it. What `idle` raises ends the loop's run.

    Args:
        idle: Makes something ready, or raises. Of several, what they raise counts once all of them do.
    """
    loop = asyncio.get_running_loop()
    if "_selector" not in vars(loop):
        yield
        return
    parts = cast("Any", loop)
    if not isinstance(parts._selector, _Watching):  # noqa: SLF001 - the only way to know; asyncio's own loops all have it
        parts._selector = _Watching(parts._selector, parts.run_in_executor)  # noqa: SLF001 - as above
        parts.run_in_executor = parts._selector.run_in_executor  # noqa: SLF001 - as above
    watching: _Watching = parts._selector  # noqa: SLF001 - as above
    watching.idle.append(idle)
    try:
        yield
    finally:
        watching.idle.remove(idle)
        if not watching.idle:
            parts._selector, parts.run_in_executor = watching.original, watching.run  # noqa: SLF001 - as above
