"""How the store answers the questions that keeping asks it all the time: the heartbeat, and the look for notices."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realmkeep.clock import Clock

log = logging.getLogger(__name__)


class StoreAnswers:
    """The newest answer to each question, and since when one is missing.

    Args:
        clock: The clock.

    Attributes:
        failing: The questions that were not answered when they were asked last, each with its error, the oldest first.
        failing_since_s: When the oldest of them failed first, on the monotonic clock.
        answered_s: When the store answered last, likewise.
        failures: How many questions were not answered.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.failing: dict[str, BaseException] = {}
        self.failing_since_s = 0.0
        self.answered_s = clock.monotonic_s()
        self.failures = 0

    def note_answer(self, question: str) -> None:
        """The store answered: the lease was renewed, notices were read."""
        self.answered_s = self._clock.monotonic_s()
        self.failing.pop(question, None)

    def note_failure(self, question: str, error: BaseException) -> None:
        """The store did not answer; the question will be asked again."""
        if not self.failing:
            self.failing_since_s = self._clock.monotonic_s()
        if question not in self.failing:
            log.info("%s: %s; it is tried again", question, described(error))
        self.failing[question] = error
        self.failures += 1


def described(error: BaseException) -> str:
    """An error of the store in a sentence; a timeout has none of its own."""
    return str(error) or "no answer in time"
