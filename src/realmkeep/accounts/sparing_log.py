"""A log of what strangers can cause at will: it keeps saying what happens, and nobody can fill a disk with it."""

import logging
from typing import Final

from realmkeep.clock import Clock

LINES_PER_S: Final = 10.0  # 170 MB a day at most, of lines of 200 bytes
LINES_BURST: Final = 100.0  # a morning's typing errors are all told


class SparingLog:
    """Logs at most `LINES_PER_S` lines a second in the long run; the next line says how many were left out.

    Args:
        log: Where to.
        clock: Its monotonic time.
    """

    def __init__(self, log: logging.Logger, clock: Clock) -> None:
        self._log = log
        self._clock = clock
        self._allowance = LINES_BURST
        self._at_s = clock.monotonic_s()
        self._left_out = 0

    def info(self, text: str, *args: object) -> None:
        """Say it, or count it."""
        now_s = self._clock.monotonic_s()
        self._allowance = min(LINES_BURST, self._allowance + (now_s - self._at_s) * LINES_PER_S)
        self._at_s = now_s
        if self._allowance < 1.0:
            self._left_out += 1
            return
        self._allowance -= 1.0
        if self._left_out:
            self._log.warning("%d refusals like these were not logged: there were too many", self._left_out)
            self._left_out = 0
        self._log.info(text, *args)
