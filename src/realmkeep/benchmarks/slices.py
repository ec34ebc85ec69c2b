"""The durations of event loop callbacks, each a possible delay of a game's tick, and the lateness of such a tick."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from time import thread_time
from typing import Any, Final, NamedTuple

from realmkeep.clock import Clock

MS: Final = 1000.0
TICK_S: Final = 1 / 20


class Slice(NamedTuple):
    """One callback: its duration, and the processor time of its thread, in seconds."""

    wall_s: float
    cpu_s: float


@contextmanager
def measured_slices(clock: Clock) -> Generator[list[Slice]]:
    """The callbacks of every event loop during the block.

    asyncio has no hook for this, so `Handle._run`, which runs every callback, is wrapped meanwhile. On a busy machine the wall
    time includes the wait for a processor; the processor time does not.
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
    """A game's tick, 20 times a second in the same loop; it records the lateness of each."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.late_s: list[float] = []
        self.first = asyncio.Event()

    async def run(self) -> None:
        """Tick until cancelled."""
        due_s = self._clock.monotonic_s()
        while True:
            due_s += TICK_S
            await self._clock.sleep(max(0.0, due_s - self._clock.monotonic_s()))
            self.late_s.append(self._clock.monotonic_s() - due_s)
            self.first.set()


@asynccontextmanager
async def ticking(tick: Tick) -> AsyncGenerator[None]:
    """Run the tick during the block, however short that is for one tick at least."""
    task = asyncio.create_task(tick.run())
    try:
        yield
        await tick.first.wait()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
