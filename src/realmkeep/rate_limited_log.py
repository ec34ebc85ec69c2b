"""A log for events that any client can cause: it goes on reporting them, but cannot be made to fill the disk."""

from collections.abc import Callable
from typing import Final

from realmkeep.clock import Clock

LINES_PER_S: Final = 10.0  # at 200 bytes a line, at most 170 MB a day
LINES_BURST: Final = 100.0  # enough for a morning's typing errors


class RateLimitedLog:
    """Lets `LINES_PER_S` lines a second through on average; the first line after a gap says how many are missing.

    One object is one budget. Lines that clients can cause share one, so that they cannot crowd out other lines.

    Args:
        clock: The clock; its monotonic time is used.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._allowance = LINES_BURST
        self._at_s = clock.monotonic_s()
        self._left_out = 0

    def say(self, line: Callable[..., object], text: str, *args: object, **facts: object) -> None:
        """Write one line, or count it.

        Args:
            line: The method of a logger, such as `log.info`.
            text: The message.
            args: The values of the placeholders in `text`.
            facts: Other arguments of the logger's method.
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
