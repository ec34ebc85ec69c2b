"""How long each callback holds the event loop: what a game's tick would have to wait for."""

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from realmkeep.clock import Clock

MS: Final = 1000.0


@contextmanager
def measured_slices(clock: Clock) -> Generator[list[float]]:
    """The seconds that each callback of every event loop took while the block ran.

    asyncio offers no hook for this, so its `Handle._run`, through which every callback goes, is wrapped for the time.
    """
    slices: list[float] = []
    original: Any = getattr(asyncio.Handle, "_run")  # noqa: B009 - private to asyncio, and the only place
    now_s, note = clock.monotonic_s, slices.append

    def timed(handle: asyncio.Handle) -> None:
        start_s = now_s()
        original(handle)
        note(now_s() - start_s)

    setattr(asyncio.Handle, "_run", timed)  # noqa: B010 - as above
    try:
        yield slices
    finally:
        setattr(asyncio.Handle, "_run", original)  # noqa: B010 - as above


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of `values` that at least `share` of them do not exceed (nearest rank)."""
    ranked = sorted(values)
    rank = -int(-share * len(ranked) // 1)
    return ranked[max(rank, 1) - 1]
