"""Raises `CommitPending` in callers that have waited long for the store; their writes go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from realmkeep.errors import CommitPending

if TYPE_CHECKING:
    from realmkeep.clock import Clock
    from realmkeep.keeping.writing.write_queue import WriteQueue

LOOK_S: Final = 0.25  # between two looks at the queue


class PendingWatch:
    """Ends the wait of callers for writes that the store does not answer.

    Args:
        queue: The queue of those writes.
        clock: The clock.
        pending_after_s: How long a caller waits.
    """

    def __init__(self, queue: WriteQueue, clock: Clock, pending_after_s: float) -> None:
        self._queue = queue
        self._clock = clock
        self._pending_after_s = pending_after_s

    async def watch_queue(self) -> None:
        """Check the oldest writes of the queue, for ever."""
        while True:
            await self._clock.sleep(LOOK_S)
            since_s = self._clock.monotonic_s() - self._pending_after_s
            for write in self._queue.oldest():
                if write.queued_s > since_s:
                    break
                if write.awaited:
                    write.give_up_waiting(
                        CommitPending(
                            f"the store has not answered for {self._pending_after_s:g} s",
                            wait=lambda write=write: write.wait(patient=True),
                            hint="the operation goes on; await wait() for its outcome",
                        )
                    )
