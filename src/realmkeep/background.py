"""Tasks that run beside something else: none of them ends unheard.

A task whose exception nobody awaits is the silent kind of failure: asyncio tells of it when the task is collected, which is
often at the exit. Here it is logged at once and stands in `degraded`; what has to run for ever is started again.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from realmkeep.clock import Clock
from realmkeep.rate_limited_log import RateLimitedLog

log = logging.getLogger("realmkeep.background")

RESTART_S: Final = 1.0  # before a loop is started again: what fails at once must not spin
STEADY_S: Final = 60.0  # a loop that has run for so long is well again
SAY_AGAIN_S: Final = 60.0  # the same failure again and again is logged no more often

TOLD_MAX: Final = 16  # failures, each under a name of its own

T = TypeVar("T")
Loop = Callable[[], Coroutine[Any, Any, None]]


class _Failure(NamedTuple):
    said: str
    at_s: float
    lasts_s: float


class Background:
    """The tasks of one owner.

    Args:
        of: The owner, for the log: `the keeper`.
        clock: Time.
    """

    def __init__(self, of: str, clock: Clock) -> None:
        self._of = of
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: set[asyncio.Task[None]] = set()
        self._failures: dict[str, _Failure] = {}
        self._logged: dict[str, tuple[str, float]] = {}
        self._log = RateLimitedLog(clock)

    @property
    def degraded(self) -> tuple[str, ...]:
        """A sentence for each task that failed and was not done again, or has not run well for a minute since."""
        now_s = self._clock.monotonic_s()
        self._failures = {name: each for name, each in self._failures.items() if now_s - each.at_s < each.lasts_s}
        return tuple(f"a task of {self._of} failed: {name}: {each.said}" for name, each in self._failures.items())

    def keep(self, name: str, loop: Loop) -> asyncio.Task[None]:
        """Run what has to run until `stop`: when it raises, it is started again, a second later."""
        task = self.run(name, self._kept(name, loop))
        self._loops.add(task)
        task.add_done_callback(self._loops.discard)
        return task

    def run(self, name: str, work: Coroutine[Any, Any, None], *, lasts_s: float = float("inf")) -> asyncio.Task[None]:
        """Run something once; what it raises is logged, and stands in `degraded` for `lasts_s` seconds."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, lasts_s))
        return task

    def failed(self, name: str, error: BaseException, *, lasts_s: float = float("inf"), then: str = "") -> None:
        """Something that runs beside failed in a way that nobody foresaw.

        Args:
            name: What.
            error: What it raised.
            lasts_s: For how long that stands in `degraded`.
            then: What is done about it, for the log.
        """
        said, now_s = repr(error), self._clock.monotonic_s()
        _put(self._failures, name, _Failure(said, now_s, lasts_s))
        before, at_s = self._logged.get(name, ("", 0.0))
        if said != before or now_s - at_s >= SAY_AGAIN_S:
            _put(self._logged, name, (said, now_s))
            self._log.say(log.critical, "a task of %s failed: %s%s", self._of, name, then, exc_info=error)

    def cancel(self) -> None:
        """Cancel every task, and wait for none."""
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        """Cancel every task and wait until it is gone."""
        tasks = list(self._tasks)
        self.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def finished(self) -> None:
        """Return when every task of `run` has ended, also those that they started."""
        while works := self._tasks - self._loops:
            await asyncio.wait(works)

    async def _kept(self, name: str, loop: Loop) -> None:
        while True:
            try:
                await loop()
            except Exception as error:  # noqa: BLE001 - whatever it is: it is told, and the loop goes on
                self.failed(name, error, lasts_s=STEADY_S, then="; it is started again")
                await self._clock.sleep(RESTART_S)
            else:
                return

    def _ended(self, lasts_s: float, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed(task.get_name(), error, lasts_s=lasts_s)


def _put(told: dict[str, T], name: str, what: T) -> None:
    """Remember the newest; strangers may cause more than anybody could read."""
    told.pop(name, None)
    told[name] = what
    if len(told) > TOLD_MAX:
        del told[next(iter(told))]
