"""A transaction in the queue, and the callers that wait for it."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from realmkeep.errors import RealmkeepError
    from realmkeep.storage.protocol import AnyTransaction


class PendingWrite:
    """A transaction in the queue. It ends as landed (durable) or failed; each waiting caller is told once.

    Attributes:
        transaction: The transaction that is sent.
        queued_s: When it was queued, on the monotonic clock.
        maybe_applied: An attempt ended without an answer.
        order: Its place among all writes of this keeper.
    """

    __slots__ = ("_error", "_landed", "_patient", "_waiters", "maybe_applied", "order", "queued_s", "transaction")

    def __init__(self, transaction: AnyTransaction, *, queued_s: float) -> None:
        self.transaction = transaction
        self.queued_s = queued_s
        self.maybe_applied = False
        self.order = 0
        self._landed = False
        self._error: RealmkeepError | None = None
        self._waiters: tuple[asyncio.Future[None], ...] = ()  # most writes have none
        self._patient: tuple[asyncio.Future[None], ...] = ()

    @property
    def done(self) -> bool:
        """Its outcome is known."""
        return self._landed or self._error is not None

    @property
    def landed(self) -> bool:
        """It is durable."""
        return self._landed

    async def wait(self, *, patient: bool = False) -> None:
        """Return when it is durable. Cancelling the caller changes nothing else.

        Args:
            patient: Wait however long it takes; otherwise `give_up_waiting` may end the wait.

        Raises:
            RealmkeepError: It did not happen, or its outcome is unknown; the error tells which.
        """
        if not self._landed and self._error is None:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            if patient:
                self._patient += (waiter,)
            else:
                self._waiters += (waiter,)
            await waiter
        if self._error is not None:
            raise copy.copy(self._error)  # one for each: a traceback refers to this frame, and so to this write

    def settle(self) -> None:
        """It landed."""
        self._landed = True
        self._wake()

    def fail(self, error: RealmkeepError) -> None:
        """It did not happen, or its outcome is unknown."""
        self._error = error
        self._wake()

    def give_up_waiting(self, error: RealmkeepError) -> None:
        """Raise `error` in the waiting callers that are not patient; the write itself goes on."""
        waiters, self._waiters = self._waiters, ()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)

    @property
    def awaited(self) -> bool:
        """Whether a caller waits for it that is not patient."""
        return bool(self._waiters)

    def _wake(self) -> None:
        for waiter in self._waiters + self._patient:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters = self._patient = ()
