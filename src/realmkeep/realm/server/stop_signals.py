"""The signals that end the server: the first one asks, and another one ends the process as it stands."""

import asyncio
import os
import signal
from contextlib import suppress
from typing import Final

from realmkeep.clock import Clock

STOP_SIGNALS: Final = ("SIGTERM", "SIGINT", "SIGHUP")  # the last: the terminal has been closed
EXIT_AT_ONCE: Final = 130  # what a shell reports of a program that was interrupted
TOGETHER_S: Final = 0.02  # timeout(1) signals its child, and at once the group that the child is in: two for one


class StopSignals:
    """What the stop signals do; those that come together are one.

    Args:
        clock: Tells whether they come together.
    """

    def __init__(self, clock: Clock) -> None:
        self._asked = asyncio.Event()
        self._clock = clock
        self._first_s: float | None = None

    def listen(self) -> None:
        """Take the signals over from here on; from the main thread, inside the event loop."""
        loop = asyncio.get_running_loop()

        def take(_number: int, _frame: object) -> None:
            if self.ends_at_once():
                with suppress(OSError):  # a terminal that is gone
                    os.write(2, b"\nrealmkeep: a second signal: stopped at once; what is not durable yet is lost\n")
                os._exit(EXIT_AT_ONCE)
            loop.call_soon_threadsafe(self._asked.set)

        for name in STOP_SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup: stay
                signal.signal(number, take)

    def ends_at_once(self) -> bool:
        """Count a signal; whether it is one too many."""
        now_s = self._clock.monotonic_s()
        if self._first_s is None:
            self._first_s = now_s
        return now_s - self._first_s >= TOGETHER_S

    async def asked(self) -> None:
        """Return once the server shall end, and another signal would count: whoever hears that it ends may send one."""
        await self._asked.wait()
        await self._clock.sleep(TOGETHER_S)
