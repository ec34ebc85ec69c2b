"""Clocks of machines that disagree: one monotonic time for all, and a wall clock for each server."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from realmkeep.clock import Timer
from realmkeep.testing.clock import FakeClock


class SkewedClock:
    """A server's clock, whose wall time is ahead of the store's, or behind it.

    Args:
        common: The clock that the simulation turns; the store's.
        ahead_s: How far this server's wall clock is ahead.
    """

    def __init__(self, common: FakeClock, ahead_s: float) -> None:
        self._common = common
        self._ahead_us = round(ahead_s * 1_000_000)

    def step(self, by_s: float) -> None:
        """Somebody sets the machine's clock."""
        self._ahead_us += round(by_s * 1_000_000)

    def wall_us(self) -> int:
        """As this machine tells it."""
        return self._common.wall_us() + self._ahead_us

    def monotonic_s(self) -> float:
        """The same for all."""
        return self._common.monotonic_s()

    async def sleep(self, delay_s: float) -> None:
        """On the common clock."""
        await self._common.sleep(delay_s)

    def call_later(self, delay_s: float, call: Callable[[], object]) -> Timer:
        """On the common clock."""
        return self._common.call_later(delay_s, call)

    def timeout(self, delay_s: float) -> AbstractAsyncContextManager[object]:
        """On the common clock."""
        return self._common.timeout(delay_s)
