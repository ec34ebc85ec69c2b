"""Ids that are unique in the realm, even after a crash of the store that took the counter back."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from realmkeep.errors import Misuse, NoMoreIds, WrongType
from realmkeep.keys import SERVER_ID_COUNTER
from realmkeep.storage import Committed, Guard, Put, Refused, Transaction

if TYPE_CHECKING:
    from realmkeep.keeping.ownership.restart_barrier import RestartBarrier
    from realmkeep.storage import Storage

log = logging.getLogger(__name__)

ID_MAX: Final = (
    2**52
)  # half of the whole numbers that JSON's readers keep exactly (2^53); enough for a million a second for a century
COUNT_MAX: Final = 2**20  # in one request; a block of serials has a thousand
MEND: Final = "stop the servers of the realm, then: realmkeep store ids --fix"


class IdCounter:
    """The counter of ids in the store, and the highest id that this server has got from it.

    The counter grows by exactly the count of each request, and otherwise only by `catch_up`, which compares and sets. A
    server has one request on its way at a time, so its answers come in order: an answer that is lower than the last one
    proves that the store lost the counter's newest value.

    Attributes:
        trouble: Why no ids can be given out, in a sentence; empty if they can.
    """

    def __init__(self, storage: Storage, barrier: RestartBarrier) -> None:
        self._storage = storage
        self._barrier = barrier
        self._highest = 0
        self._turn = asyncio.Lock()
        self.trouble = ""

    async def allocate_ids(self, count: int) -> int:
        """The first of `count` numbers, all from 1 to `ID_MAX`.

        Raises:
            Misuse: `count` is not from 1 to `COUNT_MAX`.
            NoMoreIds: The counter is used up, or no number.
            StorageError: The store cannot be reached.
        """
        if not 1 <= count <= COUNT_MAX:
            raise Misuse(f"{count} ids were asked for at once", hint=f"ask for 1 to {COUNT_MAX}")
        while True:
            await self._barrier.wait_until_passed()
            async with self._turn:
                first = await self._take(count)
            if first is not None:
                return first

    async def _take(self, count: int) -> int | None:
        """The first of `count` numbers; None if the store was restarted meanwhile, and the counter may be behind."""
        if self.trouble:
            await self.check_counter()
            self._check()
        run = self._barrier.passed_run
        try:
            last = await self._storage.increment(SERVER_ID_COUNTER, count)
        except WrongType:
            await self.check_counter()
            self._check()
            raise
        first = last - count + 1
        if not 1 <= first <= last <= ID_MAX:
            self._saw(b"%d" % last)
            self._check()
        went_back = first <= self._highest
        self._highest = max(self._highest, last)
        if went_back:
            await self.catch_up()
            return None
        return first if await self._barrier.current_run() in (run, "") else None

    async def catch_up(self) -> None:
        """Move the counter on if the store has forgotten numbers that were given out here.

        Raises:
            StorageError: The store cannot be reached.
        """
        while (counted := count_in(found := await self._load())) is not None and counted < self._highest:
            move = Transaction([Guard(SERVER_ID_COUNTER, found)], [Put(SERVER_ID_COUNTER, b"%d" % self._highest)])
            (outcome,) = await self._storage.write([move])
            if not isinstance(outcome, (Committed, Refused)):
                raise outcome.error

    async def check_counter(self) -> None:
        """Check whether the counter can be used, and set `trouble` by that.

        Raises:
            StorageUnavailable: The store cannot be reached.
        """
        self._saw(await self._load())

    async def _load(self) -> bytes | None:
        try:
            return await self._storage.load(SERVER_ID_COUNTER)
        except WrongType:
            return b"a list"

    def _saw(self, stored: bytes | None) -> None:
        counted, before = count_in(stored), self.trouble
        if counted is None:
            self.trouble = f"no ids can be given out: {SERVER_ID_COUNTER} is {stored!r:.40}, which is no count"
        elif counted >= ID_MAX:
            self.trouble = f"no ids can be given out: {SERVER_ID_COUNTER} has passed {ID_MAX}, the last that is given"
        else:
            self.trouble = ""
        if self.trouble and not before:
            log.critical("%s; %s", self.trouble, MEND)

    def _check(self) -> None:
        if self.trouble:
            raise NoMoreIds(self.trouble, hint=MEND)


def count_in(stored: bytes | None) -> int | None:
    """The value of the counter; None if the stored bytes cannot come from counting upwards from 0."""
    if stored is None:
        return 0
    return int(stored) if stored.isdigit() and len(stored) <= 19 else None  # 19: of 64 bits with sign
