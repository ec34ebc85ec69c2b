"""Stop signals: the first one asks for a shutdown, a further one ends the process at once."""

import asyncio
import os
import signal
from contextlib import suppress
from typing import Final

from realmkeep.clock import Clock

STOP_SIGNALS: Final = ("SIGTERM", "SIGINT", "SIGHUP")  # SIGHUP: the terminal has been closed
EXIT_AT_ONCE: Final = 130  # the exit code of an interrupted program, as shells report it
TOGETHER_S: Final = 0.02  # timeout(1) signals its child and then the child's group: two signals for one stop


class StopSignals:
    """Handles the stop signals; signals within `TOGETHER_S` of the first count as one.

    Args:
        clock: Measures the time between signals.

    Attributes:
        first: Set by the first signal.
    """

    def __init__(self, clock: Clock) -> None:
        self.first = asyncio.Event()
        self._clock = clock
        self._first_s: float | None = None

    def listen(self) -> None:
        """Install the handlers; call it from the main thread, inside the event loop."""
        loop = asyncio.get_running_loop()

        def take(_number: int, _frame: object) -> None:
            if self.ends_at_once():
                end_at_once()
            loop.call_soon_threadsafe(self.first.set)

        for name in STOP_SIGNALS:
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP: keep that
                signal.signal(number, take)

    def ends_at_once(self) -> bool:
        """Count a signal; returns whether it demands an end at once."""
        now_s = self._clock.monotonic_s()
        if self._first_s is None:
            self._first_s = now_s
        return now_s - self._first_s >= TOGETHER_S

    async def asked(self) -> None:
        """Wait for the first signal and the end of `TOGETHER_S`, so that a signal after this counts as the second."""
        await self.first.wait()
        await self._clock.sleep(TOGETHER_S)


def end_at_once() -> None:
    """End the process without saving."""
    with suppress(OSError):  # a terminal that is gone
        os.write(2, b"\nrealmkeep: a second signal: stopped at once; changes that were not durable yet are lost\n")
    os._exit(EXIT_AT_ONCE)


def ignore_stop_signals() -> None:
    """Ignore stop signals from here on: a signal during the interpreter's shutdown must not change the exit code."""
    for name in STOP_SIGNALS:
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, signal.SIG_IGN)
