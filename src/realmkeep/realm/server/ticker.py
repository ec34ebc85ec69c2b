"""A fixed tick and its lateness."""

from collections import deque
from collections.abc import Callable
from typing import Final

from realmkeep.clock import Clock
from realmkeep.keeping import Histogram
from realmkeep.realm.server.simulation import TICKS_PER_S

TICK_S: Final = 1 / TICKS_PER_S
REMEMBERED: Final = 60 * TICKS_PER_S  # ticks of the last minute
BEHIND_S_MAX: Final = 1.0  # after a longer stop the realm skips the missed ticks


class Ticker:
    """Calls `step` twenty times a second.

    Attributes:
        lateness_s: How late all ticks were.
    """

    def __init__(self, step: Callable[[], None], clock: Clock) -> None:
        self._step = step
        self._clock = clock
        self._late_s = deque[float](maxlen=REMEMBERED)
        self.lateness_s = Histogram()

    async def run(self) -> None:
        """Tick until cancelled."""
        due_s = self._clock.monotonic_s() + TICK_S
        while True:
            await self._clock.sleep(due_s - self._clock.monotonic_s())
            late_s = self._clock.monotonic_s() - due_s
            self._late_s.append(late_s)
            self.lateness_s.add(late_s)
            self._step()
            if late_s > BEHIND_S_MAX:
                due_s += TICK_S * int(late_s / TICK_S)
            due_s += TICK_S

    def lateness_ms(self, quantile: float) -> float:
        """The lateness of the last minute's ticks in milliseconds, at a quantile from 0 to 1; 0 before the first tick."""
        ordered = sorted(self._late_s)
        return 1000 * ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else 0.0
