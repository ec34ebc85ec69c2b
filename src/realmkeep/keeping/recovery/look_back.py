"""The look back: after a gap in the server's lease, and after a loss, every record is compared with the store.

By then another server may own a record, or the store may have lost its last writes. An idle session would not notice before
its next write is refused.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from realmkeep.errors import StorageError
from realmkeep.keeping.writing.staging import RevisionComparison

if TYPE_CHECKING:
    from realmkeep.clock import Clock
    from realmkeep.keeping.live.registry import SessionRegistry
    from realmkeep.keeping.ownership.lease import LeaseHolder
    from realmkeep.keeping.ownership.loss_probe import LossProbe
    from realmkeep.keeping.recovery.store_loss import StoreLoss
    from realmkeep.keeping.writing.write_queue import WriteQueue

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0  # after an error of the store


class LookBack:
    """Compares every live and every lately released record with the store when the lease asks for it."""

    def __init__(
        self,
        clock: Clock,
        sessions: SessionRegistry,
        lease: LeaseHolder,
        loss_probe: LossProbe,
        store_loss: StoreLoss,
        queue: WriteQueue,
    ) -> None:
        self._clock = clock
        self._sessions = sessions
        self._lease = lease
        self._loss_probe = loss_probe
        self._store_loss = store_loss
        self._queue = queue

    async def watch(self) -> None:
        """Look back each time the lease asks for it, until cancelled."""
        due = self._lease.look_back_due
        while True:
            await due.wait()
            due.clear()  # a request during this look asks for another one
            done = False
            try:
                await self._look_back()
                done = True
            except StorageError as error:
                log.info("the owners of live records cannot be read yet: %s", error)
                await self._clock.sleep(RETRY_S)
            finally:
                if not done:
                    due.set()

    async def _look_back(self) -> None:
        """Escalate every record that differs from its acknowledged state, and have the resolver recover from a loss.

        Raises:
            StorageError: The store cannot be reached.
        """
        doubts = self._loss_probe.suspicions
        uneasy, behind = await self._store_loss.look()
        for session in uneasy:
            self._sessions.escalate(session)
        if behind is not None:
            await self._compare(*behind)
        self._loss_probe.clear_suspicions(doubts)

    async def _compare(self, updated_key: str, revision: int) -> None:
        """Queue a comparison and wait for it: it lands once the resolver has restored this revision and the rest of the loss."""
        comparison = RevisionComparison.of(updated_key, revision, queued_s=self._clock.monotonic_s())
        self._queue.put(comparison)
        await comparison.wait(patient=True)
