"""Tasks beside other work, whose failures are always reported.

asyncio reports an exception that is never awaited only when the task is collected, often at exit. Here it is logged at once
and reported in `degraded`. A loop that must not end is started again.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar

from realmkeep.clock import Clock
from realmkeep.rate_limited_log import RateLimitedLog

log = logging.getLogger("realmkeep.background")

RESTART_S: Final = 1.0  # before a loop is started again, so that a loop that fails at once does not spin
STEADY_S: Final = 60.0  # a loop that has run for this long counts as well
SAY_AGAIN_S: Final = 60.0  # the shortest time between two log lines about the same failure

FAILURES_MAX: Final = 16  # remembered failures, one for each name

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
        clock: The clock.
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
        """A sentence for each failed task, unless a minute has passed since, or it was started with a shorter `lasts_s`."""
        now_s = self._clock.monotonic_s()
        self._failures = {name: each for name, each in self._failures.items() if now_s - each.at_s < each.lasts_s}
        return tuple(f"a task of {self._of} failed: {name}: {each.said}" for name, each in self._failures.items())

    def run_forever(self, name: str, loop: Loop) -> asyncio.Task[None]:
        """Run a loop until `stop`; if it raises, it is started again a second later."""
        task = self.run(name, self._restarting(name, loop))
        self._loops.add(task)
        task.add_done_callback(self._loops.discard)
        return task

    def run(self, name: str, work: Coroutine[Any, Any, None], *, lasts_s: float = float("inf")) -> asyncio.Task[None]:
        """Run a task once; its exception is logged and reported in `degraded` for `lasts_s` seconds."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, lasts_s))
        return task

    def report_failure(self, name: str, error: BaseException, *, lasts_s: float = float("inf"), then: str = "") -> None:
        """Log an unforeseen failure, and report it in `degraded`.

        Args:
            name: The task's name.
            error: Its exception.
            lasts_s: The time for which `degraded` reports it.
            then: The reaction to it, for the log.
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
        """Cancel every task and wait until all have ended."""
        tasks = list(self._tasks)
        self.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def wait_finished(self) -> None:
        """Return when every task of `run` has ended, including those started meanwhile."""
        while works := self._tasks - self._loops:
            await asyncio.wait(works)

    async def _restarting(self, name: str, loop: Loop) -> None:
        while True:
            try:
                await loop()
            except Exception as error:  # noqa: BLE001 - every failure is reported, and the loop goes on
                self.report_failure(name, error, lasts_s=STEADY_S, then="; it is started again")
                await self._clock.sleep(RESTART_S)
            else:
                return

    def _ended(self, lasts_s: float, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.report_failure(task.get_name(), error, lasts_s=lasts_s)


def _put(failures: dict[str, T], name: str, failure: T) -> None:
    """Keep only the newest failures, because clients may cause any number of them."""
    failures.pop(name, None)
    failures[name] = failure
    if len(failures) > FAILURES_MAX:
        del failures[next(iter(failures))]
