"""Acknowledged writes of late: what a store loses is the last that it was told, so a few of them tell whether it did."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from realmkeep.keeping.ownership.revisions import stored_number

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep.clock import Clock

LOSS_S: Final = 3.0  # the loss window of `everysec` is 1 s, 2 s when an fsync is slow
EVERY_S: Final = 0.1  # a store is not back sooner after its crash, so its last write before it is among those kept


class SampledWrite(NamedTuple):
    """An acknowledged write: when it was acknowledged, its key, and the revision that it left there."""

    at_s: float
    key: str
    revision: int


class LossProbe:
    """Where some acknowledged writes lie, about twenty for a second, and the revisions that they left: those only rise.

    Attributes:
        safe_s: What was acknowledged before this cannot be lost any more, on the monotonic clock. It does not rise by time,
            but by looking: a store that is away may come back with less however long that took.
        suspicions: How often the store did not hold what it had acknowledged.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._samples: deque[SampledWrite] = deque()
        self._asked_s = 0.0
        self._cleared = 0
        self.safe_s = float("-inf")
        self.suspicions = 0

    @property
    def loss_suspected(self) -> bool:
        """Something was missing in the store, and it is not known yet to be there again."""
        return self.suspicions > self._cleared

    def add_sample(self, key: str, revision: int) -> None:
        """A write was acknowledged that left this revision at this key."""
        seen, now_s = self._samples, self._clock.monotonic_s()
        if len(seen) > 1 and now_s - seen[-1].at_s < EVERY_S and seen[-1].at_s - seen[-2].at_s < EVERY_S:
            seen.pop()
        seen.append(SampledWrite(now_s, key, revision))

    def take_samples(self) -> list[SampledWrite]:
        """What the store must still hold, or later revisions of it."""
        self._asked_s = self._clock.monotonic_s()
        return list(self._samples)

    def suspect_loss(self) -> None:
        """The store was restarted: what is among these may be there, and other things not."""
        self.suspicions += 1

    def check(self, samples: Sequence[SampledWrite], stored: Sequence[bytes | None]) -> bool:
        """Whether it does, with this at their keys; forgets what a crash cannot take any more."""
        old_s = self._clock.monotonic_s() - LOSS_S
        while self._samples and self._samples[0].at_s < old_s:
            self._samples.popleft()
        kept = not any(is_older(value, each.revision) for each, value in zip(samples, stored, strict=True))
        if not kept:
            self.suspicions += 1
        elif not self.loss_suspected:
            self.safe_s = self._asked_s - LOSS_S
        return kept

    def clear_suspicions(self, suspicions: int) -> None:
        """So many doubts are cleared up: what was lost is written again, or it was no loss."""
        self._cleared = max(self._cleared, suspicions)


def is_older(updated: bytes | None, revision: int) -> bool:
    """Whether an `:updated` key as it is stored is older than this revision; what is no revision at all is not older."""
    stored = stored_number(updated)
    return stored is not None and stored < revision
