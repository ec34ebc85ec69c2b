"""How long each callback holds the event loop: what a game's tick would have to wait for."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from time import thread_time
from typing import Any, Final, NamedTuple

from realmkeep.clock import Clock

MS: Final = 1000.0
TICK_S: Final = 1 / 20


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
    now_s, note = clock.monotonic_s, slices.append

    def timed(handle: asyncio.Handle) -> None:
        start_s, start_cpu_s = now_s(), thread_time()
        original(handle)
        note(Slice(now_s() - start_s, thread_time() - start_cpu_s))

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


class Tick:
    """A game's tick, 20 times a second in the same loop: how late each one starts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.late_s: list[float] = []

    async def run(self) -> None:
        """Tick until cancelled."""
        due_s = self._clock.monotonic_s()
        while True:
            due_s += TICK_S
            await self._clock.sleep(max(0.0, due_s - self._clock.monotonic_s()))
            self.late_s.append(self._clock.monotonic_s() - due_s)


@asynccontextmanager
async def ticking(tick: Tick) -> AsyncGenerator[None]:
    """Let the tick run beside the block."""
    task = asyncio.create_task(tick.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
