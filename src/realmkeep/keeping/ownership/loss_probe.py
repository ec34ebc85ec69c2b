"""The loss probe: a few recent acknowledged writes, kept to see whether the store lost any.

A store that crashes loses the newest writes first, so samples of the last seconds are enough.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from realmkeep.keeping.ownership.revisions import stored_number

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realmkeep.clock import Clock

LOSS_S: Final = 3.0  # the loss window of `everysec` is 1 s, 2 s when an fsync is slow
MARGIN_S: Final = 1.0  # beyond the loss window that a store tells
EVERY_S: Final = 0.1  # a store is not back sooner after its crash, so its last write before it is among those kept


class SampledWrite(NamedTuple):
    """An acknowledged write: the monotonic time of its acknowledgement, its key, and the revision that it left there."""

    at_s: float
    key: str
    revision: int


class LossProbe:
    """Samples of acknowledged writes, about twenty a second; a record's revisions only rise, so an older one proves a loss.

    Args:
        clock: The clock.
        window_s: Tells the loss window of the store; it is asked while the store is connected.

    Attributes:
        safe_s: The safe watermark: no crash of the store can lose a write that was acknowledged before this monotonic time. It
            rises with each look at the store, not by itself, because a store may come back with less after any time away.
        store_id: The identity of the store; a store with another one, or with none, holds nothing that was acknowledged.
        suspicions: How often a loss was suspected: a sample was missing, or the store was restarted.
    """

    def __init__(self, clock: Clock, window_s: Callable[[], float | None]) -> None:
        self._clock = clock
        self._window_s = window_s
        self._samples: deque[SampledWrite] = deque()
        self._asked_s = 0.0
        self._cleared = 0
        self.safe_s = float("-inf")
        self.store_id = b""
        self.suspicions = 0

    @property
    def loss_suspected(self) -> bool:
        """Whether a suspicion is not cleared yet."""
        return self.suspicions > self._cleared

    @property
    def newest(self) -> SampledWrite | None:
        """The newest sample; None if no write was acknowledged of late."""
        return self._samples[-1] if self._samples else None

    def add_sample(self, key: str, revision: int) -> None:
        """Add an acknowledged write that left this revision at this key; of those within a tenth of a second the last stays."""
        seen, now_s = self._samples, self._clock.monotonic_s()
        if len(seen) > 1 and now_s - seen[-1].at_s < EVERY_S and seen[-1].at_s - seen[-2].at_s < EVERY_S:
            seen.pop()
        seen.append(SampledWrite(now_s, key, revision))

    def take_samples(self) -> list[SampledWrite]:
        """The samples to look for now: the store must hold each of them, or a later revision."""
        self._asked_s = self._clock.monotonic_s()
        return list(self._samples)

    def suspect_loss(self) -> None:
        """Suspect a loss after a restart of the store: a write that is no sample may be missing."""
        self.suspicions += 1

    def check(self, samples: Sequence[SampledWrite], stored: Sequence[bytes | None]) -> bool:
        """Whether the store holds the samples, given the values at their keys; forgets samples that no crash can take any more."""
        loss_s = max(LOSS_S, (self._window_s() or 0.0) + MARGIN_S)
        old_s = self._clock.monotonic_s() - loss_s
        while self._samples and self._samples[0].at_s < old_s:
            self._samples.popleft()
        kept = not any(is_older(value, each.revision) for each, value in zip(samples, stored, strict=True))
        if not kept:
            self.suspicions += 1
        elif not self.loss_suspected:
            self.safe_s = self._asked_s - loss_s
        return kept

    def clear_suspicions(self, suspicions: int) -> None:
        """Clear the first so many suspicions: the lost writes are restored, or there was no loss."""
        self._cleared = max(self._cleared, suspicions)


def is_older(updated: bytes | None, revision: int) -> bool:
    """Whether a stored `:updated` value is older than this revision; a value that is no revision is not older."""
    stored = stored_number(updated)
    return stored is not None and stored < revision
