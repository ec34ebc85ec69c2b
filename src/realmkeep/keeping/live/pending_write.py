"""A transaction in the queue, and the callers that wait for it."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from realmkeep.errors import RealmkeepError
    from realmkeep.storage.protocol import AnyTransaction


class PendingWrite(msgspec.Struct, eq=False):
    """A transaction in the queue. It ends as landed (durable) or failed; each waiting caller is told once.

    Attributes:
        transaction: The transaction that is sent.
        queued_s: When it was queued, on the monotonic clock.
        maybe_applied: An attempt ended without an answer.
        order: Its place among all writes of this keeper.
        landed: It is durable.
    """

    transaction: AnyTransaction
    queued_s: float
    maybe_applied: bool = False
    order: int = 0
    landed: bool = False
    _error: RealmkeepError | None = None
    _waiters: tuple[asyncio.Future[None], ...] = ()  # most writes have none, or one
    _patient: tuple[asyncio.Future[None], ...] = ()

    @property
    def done(self) -> bool:
        """Its outcome is known."""
        return self.landed or self._error is not None

    async def wait(self, *, patient: bool = False) -> None:
        """Return when it is durable. Cancelling the caller changes nothing else.

        Args:
            patient: Wait however long it takes; otherwise `give_up_waiting` may end the wait.

        Raises:
            RealmkeepError: It did not happen, or its outcome is unknown; the error tells which.
        """
        if not self.landed and self._error is None:
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
        self.landed = True
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
        if self._waiters or self._patient:
            for waiter in self._waiters + self._patient:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiters = self._patient = ()
