"""One observed server: its keeper, and the few figures for which a task has to look now and then."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Final

from realmkeep.config import OperationsConfig
from realmkeep.errors import StorageError
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.live.measures import Histogram
from realmkeep.keeping.ownership.lease import LeaseState
from realmkeep.operations.backup.catalogue import BackupAges, backup_ages
from realmkeep.storage.vitals import StoreVitals, read_vitals

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from realmkeep.keeping import Keeper

log = logging.getLogger(__name__)

VERSION: Final = version("realmkeep")  # read here, because it reads files
LAG_EVERY_S: Final = 0.25  # between two measurements of the event loop
VITALS_EVERY_S: Final = 5.0  # a scrape comes every 15 s
VITALS_WITHIN_S: Final = 2.0
BACKUPS_EVERY_S: Final = 60.0
SILENCE_S: Final = 1.5  # the keeper asks the store once a second: after this time without an answer it counts as away


class ObservedServer:
    """A game server as its operator sees it. Make it inside the event loop of the keeper, and call `start`.

    Args:
        keeper: Its keeper, open.
        config: The thresholds.
        logins: Logins by their kind and outcome; None if the game counts none.
        tick_lateness_s: How late the game's ticks were; None if it has no tick.
        backups: The directory of its backups; None if it has none.
        degraded: The game's own reasons why a promise does not hold now, one sentence each.
        not_ready: The game's own reasons why no new player can log in now, one sentence each.

    Attributes:
        loop_lag_s: How late the event loop ran a timer.
        vitals: The last vital signs of the store; None before the first, and while it does not answer.
        backup_ages: When its newest backups were made; None before the first look, and without a directory.
        started_s: When it was made, on the monotonic clock.
    """

    def __init__(
        self,
        keeper: Keeper,
        *,
        config: OperationsConfig | None = None,
        logins: Mapping[tuple[str, str], int] | None = None,
        tick_lateness_s: Histogram | None = None,
        backups: Path | None = None,
        degraded: Callable[[], Iterable[str]] = tuple,
        not_ready: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self.keeper = keeper
        self.engine = engine_of(keeper)
        self.config = config or OperationsConfig()
        self.logins = logins
        self.tick_lateness_s = tick_lateness_s
        self._backups = backups
        self._degraded = degraded
        self._not_ready = not_ready
        self.loop_lag_s = Histogram()
        self.vitals: StoreVitals | None = None
        self.backup_ages: BackupAges | None = None
        self.started_s = self.engine.clock.monotonic_s()
        self._measuring = False

    def start(self) -> None:
        """Measure the event loop, and look at the store and the backups, until the keeper closes; once for all its ports."""
        if self._measuring:
            return
        self._measuring = True
        self.engine.background.run_forever("loop lag", self._measure_lag)
        self.engine.background.run_forever("vital signs of the store", self._keep_looking)
        if self._backups is not None:
            self.engine.background.run_forever(
                "ages of the backups", partial(self._keep_counting_backups, self._backups)
            )

    @property
    def up_s(self) -> float:
        """Seconds since it was made."""
        return self.engine.clock.monotonic_s() - self.started_s

    @property
    def store_answers(self) -> bool:
        """Whether the store answered the keeper's last questions, and did so lately."""
        answers = self.engine.answers
        silent_s = self.engine.clock.monotonic_s() - answers.answered_s
        return not answers.failing and silent_s <= SILENCE_S

    def degraded(self) -> tuple[tuple[str, str], ...]:
        """Every reason why a promise does not hold now: a code and a sentence; a reason of the game has the code `game`."""
        return (*self.keeper.status().degraded, *(("game", sentence) for sentence in self._degraded()))

    def not_ready(self) -> Iterator[str]:
        """Every reason why no new player can log in now, one sentence each; none if one can."""
        engine = self.engine
        if engine.sessions.closing:
            yield "the keeper is closing"
        elif engine.sessions.draining:
            yield "the keeper is draining"
        if engine.store_loss.halted:
            yield engine.store_loss.halted
        if not self.store_answers:
            yield "the store does not answer"
        if engine.lease.state is not LeaseState.HELD:
            yield f"the lease of {self.keeper.name} is {engine.lease.state.value}"
        if engine.barrier.awaited_servers:
            yield "the store was restarted: logins wait for " + ", ".join(engine.barrier.awaited_servers)
        if engine.queue.full:
            yield "the write queue is full"
        yield from self._not_ready()

    async def _measure_lag(self) -> None:
        clock = self.engine.clock
        while True:
            due_s = clock.monotonic_s() + LAG_EVERY_S
            await clock.sleep(LAG_EVERY_S)
            self.loop_lag_s.add(max(0.0, clock.monotonic_s() - due_s))

    async def _keep_looking(self) -> None:
        clock, storage = self.engine.clock, self.engine.storage
        while True:
            try:
                async with clock.timeout(VITALS_WITHIN_S):
                    self.vitals = await read_vitals(storage)
            except (StorageError, TimeoutError):
                self.vitals = None  # the outage itself is in `degraded`
            await clock.sleep(VITALS_EVERY_S)

    async def _keep_counting_backups(self, directory: Path) -> None:
        while True:
            try:
                self.backup_ages = await asyncio.to_thread(backup_ages, directory)
            except OSError as error:
                self.backup_ages = BackupAges(None, None)  # an alert says that there is none, and this line why
                log.warning("the backups in %s cannot be listed: %s", directory, error)
            await self.engine.clock.sleep(BACKUPS_EVERY_S)
