"""When Python's garbage collector may run: never over the live sessions, never for long.

CPython's full collection visits every tracked object; with 50,000 live sessions that stops the loop for a tenth of a
second or more. What lives long is therefore moved out of its sight (`gc.freeze`, made for the same purpose at Instagram:
bpo-31558), at first when the world is loaded and then every half minute. Reference counting frees sessions and records as
before: keeping makes no cycles that hold them. What is in a cycle and older than half a minute stays until `collect_all`.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from realmkeep.clock import Clock, Timer

FREEZE_EVERY_S: Final = 30.0
YOUNG: Final = 5000  # objects until a young collection, 0.2 ms: most of what commits in flight hold dies before one
NEVER: Final = 1_000_000_000  # young collections between two full ones: a full one runs only when it is asked for


class Collector:
    """The collector's policy for one process; it changes nothing until `warmed_up`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._timer: Timer | None = None
        self._thresholds = gc.get_threshold()

    def warmed_up(self) -> None:
        """Collect once, then keep what lives now, and what comes to live long, out of every later collection."""
        if self._timer is None:
            self._thresholds = gc.get_threshold()
            gc.set_threshold(max(self._thresholds[0], YOUNG), self._thresholds[1], NEVER)
            gc.collect()
            self._freeze()

    def stop(self) -> None:
        """Give the collector back as it was."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            gc.set_threshold(*self._thresholds)
            gc.unfreeze()

    @staticmethod
    def collect_all() -> int:
        """Collect everything, for as long as that takes: for a maintenance window. Returns the objects freed."""
        gc.unfreeze()
        return gc.collect()

    def _freeze(self) -> None:
        gc.collect(1)
        gc.freeze()
        self._timer = self._clock.call_later(FREEZE_EVERY_S, self._freeze)
