"""Whether a crash of the store may still take what another server wrote.

A store that fsyncs once a second loses the end of what it acknowledged, and no part from the middle. A server that lives
writes again what was lost of its own; what a dead one wrote is lost as a whole. So nobody builds on what another server
wrote before that is safe: otherwise the part that was built upon would be written again, and the part it came from not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from realmkeep.keeping.ownership.restart_barrier import RestartBarrier
    from realmkeep.storage import Storage

LEFT_KEEP_S: Final = 60.0  # far longer than an fsync that is late; who comes later has nothing to wait for


class SafePoint:
    """Waits until what was read is safe.

    Args:
        storage: The store.
        barrier: Knows the run of the store.
    """

    def __init__(self, storage: Storage, barrier: RestartBarrier) -> None:
        self._storage = storage
        self._barrier = barrier

    @property
    def needed(self) -> bool:
        """The store may lose its last moments; one that may lose everything makes nothing safe."""
        return bool(self._storage.capability.loss_window_s)

    async def reached(self, run: str) -> bool:
        """Return when no crash can take what was read; False: the store was restarted since, so it is to be read anew.

        Args:
            run: `RestartBarrier.passed` as it was before the read.

        Raises:
            StorageUnavailable: The store cannot be reached, so that nobody can say.
        """
        if not self.needed:
            return True
        await self._storage.flush()
        return await self._barrier.current_run() == run
