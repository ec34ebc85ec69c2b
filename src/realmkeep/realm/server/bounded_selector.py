"""The event loop of the server: one that is fair to the tick when thousands of sockets have news at once."""

import asyncio
import selectors
import sys
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

SOCKETS_A_TURN: Final = 64  # about 1 ms of reading, beside what is done with it


class BoundedSelector(selectors.DefaultSelector):
    """Tells of at most `SOCKETS_A_TURN` sockets at once, in the order in which the system named them.

    asyncio handles all news of one look at the sockets before any timer: when ten thousand connections are closed in one
    moment, the tick waits for each of them. Here it waits for a few, and the rest is told at the next look.
    """

    def __init__(self) -> None:
        super().__init__()
        self._untold: dict[int, int] = {}  # what has happened, by file descriptor

    def unregister(self, fileobj: "FileDescriptorLike") -> selectors.SelectorKey:
        """Forget a socket, and what has not been told of it: its number may soon be another's."""
        key = super().unregister(fileobj)
        self._untold.pop(key.fd, None)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What has happened; waits for it only if all that had happened before was told."""
        if not self._untold:
            ready = super().select(timeout)
            if len(ready) <= SOCKETS_A_TURN:
                return ready
            self._untold = {key.fd: events for key, events in ready}
        told: list[tuple[selectors.SelectorKey, int]] = []
        for fd in [*islice(self._untold, SOCKETS_A_TURN)]:
            key = self.get_map()[fd]
            if events := self._untold.pop(fd) & key.events:
                told.append((key, events))
        return told


def _fair_loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(BoundedSelector())


loop_factory: Final[Callable[[], asyncio.AbstractEventLoop] | None] = None if sys.platform == "win32" else _fair_loop
"""For `asyncio.Runner`; None where the platform's own loop has no selector."""
