"""The archiver of one server: ships its cuts, sweeps, and freezes."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Final

from realmkeep.errors import RecordError, StorageError
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.operating import use_boards
from realmkeep.operations.archive.boards import ArchiveBoards
from realmkeep.operations.archive.freezing import DAY_S, Freezer
from realmkeep.operations.archive.shipping import Shipper, feed_of
from realmkeep.operations.archive.sweeping import Sweeper

if TYPE_CHECKING:
    from realmkeep.config import ArchiveConfig
    from realmkeep.keeping import Keeper
    from realmkeep.storage.cold import ColdStore

log = logging.getLogger("realmkeep.operations.archive")

NAMED_MAX: Final = 5
LAST_WAIT_S: Final = 0.1  # between two attempts at the last cut, which may wait for another server's
HELD_S: Final = 20.0  # by then a live server has shipped what a claim of ours was built on: its server may be dead


class ColdArchiver:
    """Keeps the cold tier behind one keeper.

    Args:
        keeper: The keeper; it was opened with `cold`.
        cold: The cold tier.
        config: The intervals.

    Attributes:
        shipper: Ships the cuts.
        sweeper: Compares both tiers.
        freezer: Freezes records.
        sweep_trouble: Why the last sweep failed; empty if it did not.
    """

    def __init__(self, keeper: Keeper, cold: ColdStore, config: ArchiveConfig) -> None:
        engine = engine_of(keeper)
        self._clock = engine.clock
        self._config = config
        self._feed = feed_of(keeper)
        self._cold = cold
        self._overflows = 0
        self._swept_s = self._sweep_at_s = 0.0
        self.shipper = Shipper(keeper, cold)
        self.sweeper = Sweeper(keeper, cold)
        self.freezer = Freezer(engine.storage, cold, engine.clock, config.freeze_kinds.split())
        self.sweep_trouble = ""
        use_boards(keeper, ArchiveBoards(cold, engine.clock))

    async def run(self) -> None:
        """Ship, for ever; a failure is in the feed's `trouble`, and tried again."""
        while True:
            await self._clock.sleep(self._config.interval_s)
            await self.shipper.ship_if_possible()

    async def run_sweeps(self) -> None:
        """Sweep and freeze, for ever: at the start, at intervals, after an overflow, and while a cut is held back for long."""
        while True:
            now_s = self._clock.monotonic_s()
            held_s = self.shipper.held_since_s
            is_held = held_s is not None and now_s - max(held_s, self._swept_s) >= HELD_S
            if now_s >= self._sweep_at_s or is_held or self._feed.overflows != self._overflows:
                self._overflows = self._feed.overflows
                jitter = random.uniform(0.9, 1.1)  # noqa: S311 - servers need not sweep in step
                self._swept_s, self._sweep_at_s = now_s, now_s + self._config.sweep_interval_s * jitter
                await self.sweep_if_possible()
            await self._clock.sleep(self._config.interval_s)

    async def sweep_if_possible(self) -> None:
        """Sweep and freeze; a failure is in `sweep_trouble`. While cuts wait, freezing pauses."""
        before = self.sweep_trouble
        try:
            await self.sweeper.sweep()
            if self._config.freeze_after_days and not self._feed.trouble:
                await self.freezer.freeze_inactive(self._config.freeze_after_days * DAY_S)
        except (StorageError, RecordError) as error:
            self.sweep_trouble = error.message
            if error.message != before:
                log.error("a sweep of the archive failed: %s; it is tried again", error)
        else:
            self.sweep_trouble = ""

    async def ship_last(self, within_s: float) -> bool:
        """After the keeper is closed: ship what is left. True if the cold tier has everything; else a sweep ships it."""
        try:
            async with self._clock.timeout(within_s):
                while self._feed.records:
                    await self.shipper.ship_if_possible(is_last=True)
                    if self._feed.trouble:
                        break
                    await self._clock.sleep(LAST_WAIT_S)
        except TimeoutError:
            waits = ", ".join(sorted(self._feed.cut.needs)[:NAMED_MAX]) or "the archive"
            log.warning("the last cut waits for %s: the next sweep ships it", waits)
        return not self._feed.records
