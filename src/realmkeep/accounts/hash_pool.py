"""Password hashing on threads: a bounded and fair queue, and bounded memory.

A password hash costs tens of milliseconds and 19 MiB. The cryptography package releases the interpreter's lock while it
computes, so threads suffice. A storm of logins costs the game processor time only; where the platform allows it, the hashing
threads run at a lower priority.

Each source (an address) has a queue of its own, and the queues take turns, so one address cannot starve the others. If all
places are taken, the last job of the longest queue makes room (longest queue drop, McKenney, "Stochastic Fairness Queueing",
INFOCOM 1990).
"""

import asyncio
import math
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from realmkeep.clock import Clock
from realmkeep.errors import AuthFailed

T = TypeVar("T")

_NICENESS: Final = 10  # on a busy machine the hashing threads yield to the event loop's thread
_FIRST_GUESS_S: Final = 0.05  # assumed duration of a hash before the first measurement
_SMOOTHING: Final = 0.1  # of the running mean of the duration


@dataclass(eq=False)
class _Job:
    call: Callable[[], Any]
    source: str
    done: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class HashPool:
    """Runs expensive calls on threads, fairly and within bounds.

    Args:
        threads: Calls that run at once; each holds the memory of one hash.
        queue_max: Most waiting calls, over all sources.
        clock: Measures the duration of calls.
    """

    def __init__(self, *, threads: int, queue_max: int, clock: Clock) -> None:
        self._threads = threads
        self._queue_max = queue_max
        self._clock = clock
        self._executor = ThreadPoolExecutor(threads, "realmkeep-hash", initializer=_yield_to_others)
        self._queues: OrderedDict[str, deque[_Job]] = OrderedDict()
        self._waiting = 0
        self._running = 0
        self._mean_s = _FIRST_GUESS_S

    @property
    def waiting(self) -> int:
        """The number of waiting calls, without the running ones."""
        return self._waiting

    async def run_call(self, call: Callable[[], T], *, source: str) -> T:
        """Run `call` on a thread and return its result; cancelling the wait removes a waiting call.

        Args:
            call: A function that does not use the event loop.
            source: The source of the call; sources take turns.

        Raises:
            AuthFailed: `throttled`: the queue is full, or this call made room for a source with fewer calls.
        """
        job = _Job(call, source)
        if self._running >= self._threads and self._waiting >= self._queue_max:
            self._make_room(source)
        self._queues.setdefault(source, deque()).append(job)
        self._waiting += 1
        self._start_next()
        try:
            return await job.done
        except asyncio.CancelledError:
            self._forget(job)
            raise

    async def close(self) -> None:
        """Refuse the waiting calls, finish the running ones, and end the threads."""
        for queue in self._queues.values():
            for job in queue:
                job.done.set_exception(self._throttled())
        self._queues.clear()
        self._waiting = 0
        await asyncio.to_thread(self._executor.shutdown)

    def _make_room(self, source: str) -> None:
        longest = max(self._queues.values(), key=len, default=None)
        if longest is None or len(longest) <= len(self._queues.get(source, ())) + 1:
            raise self._throttled()
        job = longest[-1]
        self._forget(job)
        job.done.set_exception(self._throttled())

    def _forget(self, job: _Job) -> None:
        queue = self._queues.get(job.source)
        if queue is None or job not in queue:
            return
        queue.remove(job)
        self._waiting -= 1
        if not queue:
            del self._queues[job.source]

    def _start_next(self) -> None:
        if self._running >= self._threads or not self._queues:
            return
        source, queue = self._queues.popitem(last=False)
        job = queue.popleft()
        self._waiting -= 1
        if queue:
            self._queues[source] = queue  # at the end: the other sources have their turn first
        self._running += 1
        started_s = self._clock.monotonic_s()
        running = asyncio.get_running_loop().run_in_executor(self._executor, job.call)
        running.add_done_callback(lambda result: self._finished(job, result, started_s))

    def _finished(self, job: _Job, result: asyncio.Future[Any], started_s: float) -> None:
        self._running -= 1
        self._mean_s += _SMOOTHING * (self._clock.monotonic_s() - started_s - self._mean_s)
        self._start_next()
        error = result.exception()
        if job.done.cancelled():
            return
        if error is not None:
            job.done.set_exception(error)
        else:
            job.done.set_result(result.result())

    def _throttled(self) -> AuthFailed:
        wait_s = math.ceil((self._waiting + 1) * self._mean_s / self._threads)
        return AuthFailed(
            "the server is busy with other logins", reason="throttled", retry_after_s=float(max(1, wait_s))
        )


def _yield_to_others() -> None:
    """Lower this thread's priority on Linux, where niceness belongs to a thread; elsewhere do nothing."""
    if hasattr(os, "setpriority") and os.uname().sysname == "Linux":
        with suppress(OSError):  # a sandbox may refuse it; the priority is optional
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
