"""Outages of the store: logged when one begins, every 10 s while it lasts, and at its end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from realmkeep.keeping.ownership.store_answers import described

if TYPE_CHECKING:
    from realmkeep.clock import Clock
    from realmkeep.keeping.ownership.store_answers import StoreAnswers
    from realmkeep.keeping.writing.write_queue import WriteQueue

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0  # between two looks
BLIP_S: Final = 1.0  # a shorter failure, such as one lost answer, is no outage
REMIND_S: Final = 10.0  # between two log lines of an outage


class OutageWatch:
    """Tells an outage of the store from its answers and from the write queue.

    Args:
        clock: The clock.
        answers: The store's answers to the requests that keeping makes anyway.
        queue: The writes that wait for the store.
        asked_every_s: The interval of the most frequent of those requests.
        patience_s: A store that has not answered a request or a write for this long counts as away, without any error.
    """

    def __init__(
        self, clock: Clock, answers: StoreAnswers, queue: WriteQueue, *, asked_every_s: float, patience_s: float
    ) -> None:
        self._clock = clock
        self._answers = answers
        self._queue = queue
        self._silence_s = asked_every_s + patience_s
        self._patience_s = patience_s
        self._began_s: float | None = None
        self._reminded_s = 0.0
        self._failures_before = 0

    def reason(self) -> str | None:
        """The reason why no write can be stored now, in a sentence that changes only with the cause; None if the store serves."""
        queue, answers, now_s = self._queue, self._answers, self._clock.monotonic_s()
        if queue.trouble_since_s is not None and now_s - queue.trouble_since_s > BLIP_S:
            return _sentence(queue.last_error)
        if answers.failing and now_s - answers.failing_since_s > BLIP_S:
            return _sentence(next(iter(answers.failing.values())))
        hangs = now_s - answers.answered_s > self._silence_s
        if not hangs and (waiting := queue.oldest()):
            hangs = now_s - waiting[0].queued_s > self._patience_s
        return _sentence(None) if hangs else None

    async def watch(self) -> None:
        """Check the queue, and the time since the store's last answer, for ever."""
        while True:
            await self._clock.sleep(LOOK_S)
            self._look()

    def _look(self) -> None:
        reason, now_s = self.reason(), self._clock.monotonic_s()
        failures = self._answers.failures - self._failures_before
        if reason is None:
            if self._began_s is not None:
                log.warning(
                    "the store serves again after %.1f s; %d attempts had failed", now_s - self._began_s, failures
                )
                self._began_s = None
            if not self._answers.failing:
                self._failures_before = self._answers.failures
        elif self._began_s is None:
            self._began_s, self._reminded_s = self._since_s(), now_s
            log.warning("%s", reason)
        elif now_s - self._reminded_s >= REMIND_S:
            self._reminded_s = now_s
            log.warning("%s: for %.0f s, %d attempts failed", reason, now_s - self._began_s, failures)

    def _since_s(self) -> float:
        """When the present outage began."""
        waiting = self._queue.oldest()
        return min(self._answers.answered_s, waiting[0].queued_s) if waiting else self._answers.answered_s


def _sentence(error: BaseException | None) -> str:
    return f"nothing can be stored: {'the store does not answer' if error is None else described(error)}"
