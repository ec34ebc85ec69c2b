"""After a gap in this server's lease, and after a loss: whether the store still holds every record as it was acknowledged.

Another server may own a record by then, or the store may have lost it. A session that is idle would not notice, because
only its next write would be refused.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from realmkeep.errors import StorageError
from realmkeep.keeping.live.session import Session
from realmkeep.keeping.recovery.stored_ownership import is_behind, read_held
from realmkeep.keeping.writing.staging import Comparison

if TYPE_CHECKING:
    from realmkeep.clock import Clock
    from realmkeep.keeping.live.registry import SessionRegistry
    from realmkeep.keeping.ownership.lease import LeaseHolder
    from realmkeep.keeping.ownership.loss_probe import Witnesses
    from realmkeep.keeping.recovery.released_snapshots import Departed
    from realmkeep.keeping.recovery.store_loss import Healer
    from realmkeep.keeping.writing.write_queue import WriteQueue
    from realmkeep.storage import Storage

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0  # after the store could not be asked


class LookBack:
    """Compares every live and every lately released record with the store, when the lease asks for it."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        sessions: SessionRegistry,
        lease: LeaseHolder,
        witnesses: Witnesses,
        healer: Healer,
        queue: WriteQueue,
    ) -> None:
        self._storage = storage
        self._clock = clock
        self._sessions = sessions
        self._lease = lease
        self._witnesses = witnesses
        self._healer = healer
        self._queue = queue

    async def watch(self) -> None:
        """Look back whenever the lease asks for it, for ever."""
        due = self._lease.look_back_due
        while True:
            await due.wait()
            due.clear()  # a request that comes during the look is for another one
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
        """Escalate every record that is not as it was acknowledged, and let the resolver see a loss.

        Raises:
            StorageError: The store cannot be reached.
        """
        doubts = self._witnesses.doubts
        held = await read_held(self._storage, [*self._sessions.live(), *self._healer.departures])
        for kept, state in held.items():
            if isinstance(kept, Session) and (is_behind(kept, state) or state.owner != kept.owner_guard.expected):
                self._sessions.escalate(kept)
        if self._healer.went_backwards(held):
            await self._compare(next(kept for kept, state in held.items() if is_behind(kept, state)))
        self._witnesses.dispel(doubts)

    async def _compare(self, kept: Session[Any] | Departed) -> None:
        """Return when the store holds this revision again: the resolver heals what stands in the way."""
        comparison = Comparison(kept.keys.updated, kept.durable_revision, queued_s=self._clock.monotonic_s())
        self._queue.put(comparison)
        await comparison.wait(patient=True)
