"""How long each callback holds the event loop: what a game's tick would have to wait for."""

import asyncio
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from realmkeep.clock import Clock

MS: Final = 1000.0


class Slice(NamedTuple):
    """One callback: how long it took, and how long of that its thread computed, in seconds."""

    wall_s: float
    cpu_s: float


@contextmanager
def measured_slices(clock: Clock) -> Generator[list[Slice]]:
    """Every callback of every event loop while the block runs.

    asyncio offers no hook for this, so its `Handle._run`, through which every callback goes, is wrapped for the time.
    On a machine that is busy with something else the wall time includes waiting for a processor; the other does not.
    """
    slices: list[Slice] = []
    original: Any = getattr(asyncio.Handle, "_run")  # noqa: B009 - private to asyncio, and the only place
    now_s, cpu_s, note = clock.monotonic_s, time.thread_time, slices.append

    def timed(handle: asyncio.Handle) -> None:
        start_s, start_cpu_s = now_s(), cpu_s()
        original(handle)
        note(Slice(now_s() - start_s, cpu_s() - start_cpu_s))

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
