"""When Python's garbage collector may run: never over thousands of live sessions, never for long.

CPython's full collection visits every tracked object; with 50,000 live sessions that stops the loop for a tenth of a
second and more, about 10 microseconds each. Long-lived objects are therefore moved out of its sight (`gc.freeze`, made for
the same purpose at Instagram: bpo-31558): at first when the world is loaded, then whenever many sessions have come since.
Between two freezes a full collection visits only the objects that came after the last one.

Reference counting frees sessions and records as before, because keeping makes no cycles that hold them. asyncio does make
cycles: it leaves each closed TCP transport in one (0.9 KB). A frozen object in a cycle stays until `collect_all`.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from realmkeep.clock import Clock, Timer
    from realmkeep.keeping.live.counters import Counters

COLLECT_EVERY_S: Final = 30.0
IN_SIGHT_MAX: Final = 1000  # sessions: a full collection over so many takes 10 ms, a fifth of a 20 Hz tick
YOUNG: Final = 5000  # objects until a young collection, 0.2 ms: most of what commits in flight hold dies before one
NEVER: Final = 1_000_000_000  # young collections between two full ones: a full one runs only when it is asked for


class GcPolicy:
    """The collector's policy for one process; it changes nothing until `warmed_up`."""

    def __init__(self, clock: Clock, counters: Counters) -> None:
        self._clock = clock
        self._counters = counters
        self._timer: Timer | None = None
        self._thresholds = gc.get_threshold()
        self._frozen_sessions = 0

    def warmed_up(self) -> None:
        """Collect once, then keep all present objects, and later long-lived ones, out of every full collection."""
        if self._timer is None:
            self._thresholds = gc.get_threshold()
            gc.set_threshold(max(self._thresholds[0], YOUNG), self._thresholds[1], NEVER)
            gc.collect()
            self._freeze()
            self._look_again()

    def stop(self) -> None:
        """Give the collector back as it was."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            gc.set_threshold(*self._thresholds)
            gc.unfreeze()

    def collect_all(self) -> int:
        """Collect everything, for as long as that takes: for a maintenance window. Returns the objects freed."""
        gc.unfreeze()
        found = gc.collect()
        if self._timer is not None:
            self._freeze()
        return found

    def _look_again(self) -> None:
        self._timer = self._clock.call_later(COLLECT_EVERY_S, self._collect)

    def _collect(self) -> None:
        if self._counters.sessions - self._frozen_sessions <= IN_SIGHT_MAX:
            gc.collect()
        else:
            gc.collect(1)
            self._freeze()
        self._look_again()

    def _freeze(self) -> None:
        gc.freeze()
        self._frozen_sessions = self._counters.sessions
