"""Whether the store serves: found by what keeping asks of it all the time, and said in the log once, rarely, and at the end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep.clock import Clock
    from realmkeep.errors import RealmkeepError
    from realmkeep.keeping.live.pending_write import Write

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0  # how often the queue is looked at
BLIP_S: Final = 1.0  # a failure that is over within this, such as one lost answer, is no outage
REMIND_S: Final = 10.0  # how often an outage that lasts is logged


class Queue(Protocol):
    """The way to the store, as far as it tells an outage."""

    @property
    def trouble_since_s(self) -> float | None:
        """Since when it has been asking what became of its writes; None while all goes well."""
        ...

    @property
    def last_error(self) -> RealmkeepError | None:
        """What the store said last."""
        ...

    def oldest(self) -> Sequence[Write]:
        """Every write not known to be durable yet, oldest first."""
        ...


class Outage:
    """Watches the store through the questions that keeping asks anyway.

    Args:
        clock: The clock.
        asked_every_s: How often the most frequent of those questions is asked.
        patience_s: A store that does not answer a question or a write for this long is away, though it says no error.
    """

    def __init__(self, clock: Clock, *, asked_every_s: float, patience_s: float) -> None:
        self._clock = clock
        self._silence_s = asked_every_s + patience_s
        self._patience_s = patience_s
        self._queue: Queue | None = None
        self._failing: dict[str, BaseException] = {}
        self._failing_since_s = 0.0
        self._answered_s = clock.monotonic_s()
        self._began_s: float | None = None
        self._reminded_s = 0.0
        self._failures = 0

    def answered(self, what: str) -> None:
        """A question was answered: the lease was renewed, notices were read."""
        self._answered_s = self._clock.monotonic_s()
        self._failing.pop(what, None)
        self._look()

    def failed(self, what: str, error: BaseException) -> None:
        """A question was not answered; it will be asked again."""
        if not self._failing:
            self._failing_since_s = self._clock.monotonic_s()
        self._failing[what] = error
        self._failures += 1
        if self._began_s is None:
            log.info("%s: %s; it is tried again", what, _said(error))
        self._look()

    def reason(self) -> str | None:
        """Why nothing can be stored now, in a sentence that changes only with the cause; None if the store serves."""
        queue, now_s = self._queue, self._clock.monotonic_s()
        if queue is not None and queue.trouble_since_s is not None and now_s - queue.trouble_since_s > BLIP_S:
            return _sentence(queue.last_error)
        if self._failing and now_s - self._failing_since_s > BLIP_S:
            return _sentence(next(iter(self._failing.values())))
        hangs = now_s - self._answered_s > self._silence_s
        if not hangs and queue is not None and (waiting := queue.oldest()):
            hangs = now_s - waiting[0].queued_s > self._patience_s
        return _sentence(None) if hangs else None

    async def watch(self, queue: Queue) -> None:
        """Look at the queue and at how long the store has been silent, for ever."""
        self._queue = queue
        self._answered_s = self._clock.monotonic_s()
        while True:
            await self._clock.sleep(LOOK_S)
            self._look()

    def _look(self) -> None:
        reason, now_s = self.reason(), self._clock.monotonic_s()
        if reason is None:
            if self._began_s is not None:
                log.warning(
                    "the store serves again after %.1f s; %d attempts had failed", now_s - self._began_s, self._failures
                )
                self._began_s = None
            if not self._failing:
                self._failures = 0
        elif self._began_s is None:
            self._began_s, self._reminded_s = self._since_s(), now_s
            log.warning("%s", reason)
        elif now_s - self._reminded_s >= REMIND_S:
            self._reminded_s = now_s
            log.warning("%s: for %.0f s, %d attempts failed", reason, now_s - self._began_s, self._failures)

    def _since_s(self) -> float:
        """When what is told now began."""
        waiting = self._queue.oldest() if self._queue is not None else ()
        return min(self._answered_s, waiting[0].queued_s) if waiting else self._answered_s


def _said(error: BaseException) -> str:
    return str(error) or "no answer in time"


def _sentence(error: BaseException | None) -> str:
    return f"nothing can be stored: {'the store does not answer' if error is None else _said(error)}"
