"""A clock that only the test moves."""

import asyncio
import heapq
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeVar

T = TypeVar("T")

START_WALL_US: Final = (
    1_767_225_600 * 1_000_000
)  # 2026-01-01T00:00:00Z: a plausible date; 0 would be false in a condition
START_MONOTONIC_NS: Final = 1_000 * 1_000_000_000  # not 0, for the same reason
SETTLE_TURNS_MAX: Final = 100_000  # a loop that is still busy after this many turns spins, or waits for real time


@dataclass(order=True)
class _FakeTimer:
    due_ns: int
    number: int
    call: Callable[[], object] | None = field(compare=False)

    def cancel(self) -> None:
        self.call = None


class FakeClock:
    """A `realmkeep.clock.Clock` on which time passes only while `advance` or `finish` runs.

    Timers fire in the order of their deadlines (equal deadlines: of their creation), and between two of them the event
    loop runs until no callback is ready. So the order of events is the same in every run. The clock does not wait for
    threads and sockets: await those yourself.

    Args:
        wall_us: Wall time at the start, in microseconds since the Unix epoch.
    """

    def __init__(self, *, wall_us: int = START_WALL_US) -> None:
        self._now_ns = START_MONOTONIC_NS  # whole nanoseconds, so that ten times 0.1 s is one second
        self._wall_minus_monotonic_us = wall_us - START_MONOTONIC_NS // 1000
        self._timers: list[_FakeTimer] = []
        self._timers_made = 0

    def wall_us(self) -> int:
        """Microseconds since the Unix epoch."""
        return self._now_ns // 1000 + self._wall_minus_monotonic_us

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start."""
        return self._now_ns / 1_000_000_000

    async def sleep(self, delay_s: float) -> None:
        """Return once `delay_s` seconds have been advanced; 0 or less yields to the event loop once."""
        if delay_s <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        timer = self.call_later(delay_s, lambda: None if woken.done() else woken.set_result(None))
        try:
            await woken
        finally:
            timer.cancel()

    def call_later(self, delay_s: float, call: Callable[[], object]) -> _FakeTimer:
        """Run `call` once `delay_s` seconds have been advanced; `advance` passes its exception on."""
        self._timers_made += 1
        timer = _FakeTimer(self._now_ns + max(0, round(delay_s * 1_000_000_000)), self._timers_made, call)
        heapq.heappush(self._timers, timer)
        return timer

    @asynccontextmanager
    async def timeout(self, delay_s: float) -> AsyncGenerator[asyncio.Timeout]:
        """Cancel the block once `delay_s` seconds have been advanced, and raise `TimeoutError` from it."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(None) as deadline:
            timer = self.call_later(delay_s, lambda: deadline.reschedule(loop.time()))
            try:
                yield deadline
            finally:
                timer.cancel()

    def step_wall(self, by_s: float) -> None:
        """Set the wall clock forwards, or backwards if `by_s` is negative; monotonic time and timers are not affected."""
        self._wall_minus_monotonic_us += round(by_s * 1_000_000)

    def next_timer_s(self) -> float | None:
        """Seconds until the next timer is due; None if none is set."""
        self._forget_cancelled()
        return max(0, self._timers[0].due_ns - self._now_ns) / 1_000_000_000 if self._timers else None

    async def advance(self, by_s: float) -> None:
        """Let `by_s` seconds pass: fire every due timer, in order, and let the loop settle after each.

        Raises:
            RuntimeError: The loop does not settle: a task spins without waiting.
        """
        end_ns = self._now_ns + round(by_s * 1_000_000_000)
        await self.settle()
        while await self._fire_next(end_ns):
            pass
        self._now_ns = max(self._now_ns, end_ns)

    async def finish(self, awaitable: Awaitable[T], *, within_s: float = 3600.0) -> T:
        """Let time pass from timer to timer until `awaitable` is done, and return its result.

        Raises:
            TimeoutError: `awaitable` is not done after `within_s` seconds, or no timer is left to bring it about; it is then
                cancelled.
            RuntimeError: The loop does not settle.
        """
        end_ns = self._now_ns + round(within_s * 1_000_000_000)
        task = asyncio.ensure_future(awaitable)
        try:
            await self.settle()
            while not task.done():
                if not await self._fire_next(end_ns):
                    raise TimeoutError(f"not done after {within_s} s of fake time, or waiting for no timer: {task!r}")
            return task.result()
        finally:
            task.cancel()

    def fire_next(self) -> bool:
        """Advance to the next timer and fire it; False if there is none."""
        self._forget_cancelled()
        if not self._timers:
            return False
        timer = heapq.heappop(self._timers)
        self._now_ns = max(self._now_ns, timer.due_ns)
        if timer.call is not None:
            timer.call()
        return True

    async def settle(self) -> None:
        """Run the event loop until no callback is ready, without letting time pass.

        Raises:
            RuntimeError: The loop is still busy after `SETTLE_TURNS_MAX` turns: a task spins without waiting.
        """
        loop = asyncio.get_running_loop()
        ready = vars(loop)["_ready"]  # there is no public way; all of asyncio's own loops have it
        for _ in range(SETTLE_TURNS_MAX):
            await asyncio.sleep(0)
            if not ready:  # callbacks of this turn have queued their successors by now
                return
        raise RuntimeError(f"the event loop is still busy after {SETTLE_TURNS_MAX} turns: a task spins")

    async def _fire_next(self, end_ns: int) -> bool:
        self._forget_cancelled()
        if not self._timers or self._timers[0].due_ns > end_ns or not self.fire_next():
            return False
        await self.settle()
        return True

    def _forget_cancelled(self) -> None:
        while self._timers and self._timers[0].call is None:
            heapq.heappop(self._timers)
