"""The safe point: the moment from which no crash of the store can take another server's writes.

A store that fsyncs once a second loses the end of its acknowledged writes, never a part from the middle. A live server
restores its own lost writes; those of a dead server are lost for good. So no server builds on another server's write
before it is safe: otherwise a crash could take the write and leave its consequences.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from realmkeep.keeping.ownership.restart_barrier import RestartBarrier
    from realmkeep.storage import Storage

LEFT_KEEP_S: Final = 60.0  # far longer than a late fsync; a later claim has nothing to wait for


class SafePoint:
    """Waits until the values that a caller has read are safe.

    Args:
        storage: The store.
        barrier: Tells the run of the store.
    """

    def __init__(self, storage: Storage, barrier: RestartBarrier) -> None:
        self._storage = storage
        self._barrier = barrier

    @property
    def needed(self) -> bool:
        """Whether the store may lose its last moments; on one that may lose everything no write is ever safe."""
        return bool(self._storage.capability.loss_window_s)

    async def reached(self, run: str) -> bool:
        """Return when no crash can take the values that were read; False if the store was restarted since: read them anew.

        Args:
            run: `RestartBarrier.passed_run` as it was before the read.

        Raises:
            StorageUnavailable: The store cannot be reached.
        """
        if not self.needed:
            return True
        await self._storage.flush()
        return await self._barrier.current_run() == run
