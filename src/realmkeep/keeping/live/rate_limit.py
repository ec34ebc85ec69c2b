"""How many tier-1 operations a player may start: a token bucket with a bounded queue behind it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from realmkeep.errors import RateLimited

if TYPE_CHECKING:
    from realmkeep.clock import Clock
    from realmkeep.config import KeeperConfig

log = logging.getLogger(__name__)

ROUNDING_S: Final = 1e-6  # ten tenths of a second are a little more than a second


class CommitRateLimiter:
    """One player's allowance, as a virtual schedule (GCRA, ITU-T I.371): each operation takes the next free slot.

    A second's worth may come at once; operations beyond the rate wait for their slots, in order.
    """

    __slots__ = ("_next_s", "_warned", "waiting")

    def __init__(self) -> None:
        self._next_s = float("-inf")
        self._warned = False
        self.waiting = 0

    def take_now(self, now_s: float, rate_per_s: float) -> bool:
        """Whether the operation may run at once; then its slot is taken.

        Args:
            now_s: Monotonic time.
            rate_per_s: Operations a second; as many may come at once.
        """
        slot_s = max(self._next_s, now_s - 1.0) + 1.0 / rate_per_s
        if slot_s > now_s + ROUNDING_S:
            return False
        self._next_s = slot_s
        self._warned = False
        return True

    async def wait_turn(self, clock: Clock, config: KeeperConfig, player: str) -> None:
        """Return when the operation may run.

        Args:
            clock: The clock.
            config: `tier1_rate_per_s`, and `tier1_queue_max` operations that may wait.
            player: The key of its record, for the log and the error.

        Raises:
            RateLimited: As many wait already; nothing ran.
        """
        rate_per_s = config.tier1_rate_per_s
        wait_s = self._next_s + 1.0 / rate_per_s - clock.monotonic_s()
        if not self._warned:
            log.warning("%s starts more than %g tier-1 operations a second; the excess waits", player, rate_per_s)
            self._warned = True
        if self.waiting >= config.tier1_queue_max:
            raise RateLimited(
                f"{player} has {self.waiting} tier-1 operations waiting beyond {rate_per_s:g} a second",
                hint=f"slow down, or kick the player; the next may run in {wait_s:.1f} s",
            )
        self._next_s += 1.0 / rate_per_s
        self.waiting += 1
        try:
            await clock.sleep(wait_s)
        finally:
            self.waiting -= 1
