"""A log of what strangers can cause at will: it keeps saying what happens, and no stranger can fill a disk with it."""

from collections.abc import Callable
from typing import Final

from realmkeep.clock import Clock

LINES_PER_S: Final = 10.0  # 170 MB a day at most, of lines of 200 bytes
LINES_BURST: Final = 100.0  # a morning's typing errors are all told


class RateLimitedLog:
    """Lets `LINES_PER_S` lines a second through in the long run; the next line then says how many were left out.

    One object is one budget: lines that a stranger may cause at will share one, so that they cannot hide others.

    Args:
        clock: Its monotonic time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._allowance = LINES_BURST
        self._at_s = clock.monotonic_s()
        self._left_out = 0

    def say(self, line: Callable[..., object], text: str, *args: object, **facts: object) -> None:
        """Write one line, or count it.

        Args:
            line: Writes it: a method of a logger, such as `log.info`.
            text: What happened.
            args: For the placeholders in `text`.
            facts: What else the logger takes.
        """
        now_s = self._clock.monotonic_s()
        self._allowance = min(LINES_BURST, self._allowance + (now_s - self._at_s) * LINES_PER_S)
        self._at_s = now_s
        if self._allowance < 1.0:
            self._left_out += 1
            return
        self._allowance -= 1.0
        if self._left_out:
            line(f"{self._left_out} lines like the next were left out: there were too many")
            self._left_out = 0
        line(text, *args, **facts)
