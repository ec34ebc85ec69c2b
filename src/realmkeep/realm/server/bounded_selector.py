"""The event loop of the server: the tick stays on time when thousands of sockets are ready at once."""

import asyncio
import selectors
import sys
from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed import FileDescriptorLike

SOCKETS_A_TURN: Final = 64  # about 1 ms of reading, without the processing


class BoundedSelector(selectors.DefaultSelector):
    """Reports at most `SOCKETS_A_TURN` ready sockets at once, in the system's order.

    asyncio handles all ready sockets of one `select` before any timer: if ten thousand connections close at once, the tick
    waits for all of them. With this selector it waits for a few; the next `select` reports the others.
    """

    def __init__(self) -> None:
        super().__init__()
        self._unreported: dict[int, int] = {}  # ready sockets for the next calls: events by file descriptor

    def unregister(self, fileobj: "FileDescriptorLike") -> selectors.SelectorKey:
        """Forget a socket and its unreported events: another socket may soon get its descriptor."""
        key = super().unregister(fileobj)
        self._unreported.pop(key.fd, None)
        return key

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """The ready sockets; waits for some only if none are left unreported."""
        if not self._unreported:
            ready = super().select(timeout)
            if len(ready) <= SOCKETS_A_TURN:
                return ready
            self._unreported = {key.fd: events for key, events in ready}
        reported: list[tuple[selectors.SelectorKey, int]] = []
        for fd in [*islice(self._unreported, SOCKETS_A_TURN)]:
            key = self.get_map()[fd]
            if events := self._unreported.pop(fd) & key.events:
                reported.append((key, events))
        return reported


def _fair_loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(BoundedSelector())


loop_factory: Final[Callable[[], asyncio.AbstractEventLoop] | None] = None if sys.platform == "win32" else _fair_loop
"""The loop factory for `asyncio.Runner`; None on Windows, whose loop has no selector."""
