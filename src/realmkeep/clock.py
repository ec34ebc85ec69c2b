"""The only reader of time: all other modules ask a `Clock`, so that a test can set the time."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Timer(Protocol):
    """A call of `Clock.call_later`."""

    def cancel(self) -> None:
        """Cancel the call; without effect after it ran."""
        ...


class Clock(Protocol):
    """Wall time, monotonic time, and waiting."""

    def wall_us(self) -> int:
        """Microseconds since the Unix epoch; may step backwards when the machine's clock is set."""
        ...

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start; never goes backwards."""
        ...

    async def sleep(self, delay_s: float) -> None:
        """Return after `delay_s` seconds; 0 yields to the event loop once."""
        ...

    def call_later(self, delay_s: float, call: Callable[[], object]) -> Timer:
        """Run `call` on the event loop after `delay_s` seconds, unless the returned timer is cancelled."""
        ...

    def timeout(self, delay_s: float) -> AbstractAsyncContextManager[object]:
        """A block that is cancelled after `delay_s` seconds and then raises `TimeoutError`, as `asyncio.timeout` does."""
        ...


class SystemClock:
    """The machine's own clock."""

    def wall_us(self) -> int:
        """Microseconds since the Unix epoch."""
        return time.time_ns() // 1000

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start."""
        return time.monotonic()

    async def sleep(self, delay_s: float) -> None:
        """Return after `delay_s` seconds."""
        await asyncio.sleep(delay_s)

    def call_later(self, delay_s: float, call: Callable[[], object]) -> Timer:
        """Run `call` on the running event loop after `delay_s` seconds."""
        return asyncio.get_running_loop().call_later(delay_s, call)

    def timeout(self, delay_s: float) -> AbstractAsyncContextManager[object]:
        """Cancel the block after `delay_s` seconds."""
        return asyncio.timeout(delay_s)
