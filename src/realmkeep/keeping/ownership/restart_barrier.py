"""After a restart of the store nobody gets in before every server has looked whether it lost something there.

A store with a loss window comes back with less than it acknowledged. Every server writes again what the crash took from it,
but a player who had logged out in the lost moment is nobody's, and another server would let them in from the older state.
So each server says under one key for which run of the store it has looked, and a claim waits until all have said so.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep.errors import StorageUnavailable
from realmkeep.keeping.live.undecodable import UNDECODABLE
from realmkeep.keys import SERVER_STORE_RUNS, server_lease
from realmkeep.storage import Committed, Delete, Guard, Put, Refused, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realmkeep.clock import Clock
    from realmkeep.storage import Storage

log = logging.getLogger(__name__)

LOOK_S: Final = 0.25  # how often a claim that waits looks whether it may go on


class RestartBarrier:
    """What one server knows of the runs of its store, and says of them.

    Args:
        storage: The store.
        clock: The clock.
        name: The server's.
        ttl_s: How long a silent server keeps what it owns. A moment more is what the others have, from the first sight of a
            restart, to look: who takes longer is dead, and its lease has run out by then.

    Attributes:
        confirmed_run: The run of the store in which nothing of ours was missing; empty before the first.
        passed_run: The run of the store that claims waited for last: every server had looked.
        awaited_servers: The servers that claims wait for now.
    """

    def __init__(self, storage: Storage, clock: Clock, name: str, *, ttl_s: float) -> None:
        self._storage = storage
        self._clock = clock
        self._name = name
        self._patience_s = ttl_s + LOOK_S
        self._run = ""
        self._since_s = 0.0
        self._waiting = asyncio.Lock()
        self.confirmed_run = ""
        self.passed_run = ""
        self.awaited_servers: tuple[str, ...] = ()

    @property
    def needed(self) -> bool:
        """The store may lose what it acknowledged."""
        return self._storage.capability.loss_window_s != 0

    async def current_run(self) -> str:
        """The run of the store; empty where no barrier is needed, or none can be.

        Raises:
            StorageUnavailable: The store cannot be reached.
        """
        if not self.needed:
            return ""
        run = await self._storage.run_id()
        if run != self._run:
            self._run, self._since_s = run, self._clock.monotonic_s()
        return run

    async def confirm_run(self, run: str, lease: Guard) -> None:
        """Say that in this run of the store nothing is missing that it had acknowledged to this server.

        Args:
            run: As it was before the look.
            lease: Ours; who took over our name speaks for itself.

        Raises:
            StorageError: The store cannot be reached.
        """
        if run:
            await self._change([lease], lambda runs: {**runs, self._name: run})
            self.confirmed_run = run

    async def withdraw(self) -> None:
        """Be waited for no more: everything that was acknowledged here is safe.

        Raises:
            StorageError: The store cannot be reached.
        """
        if self.needed:
            await self._change([], lambda runs: _without(runs, [self._name]))

    async def wait_until_passed(self) -> bool:
        """Return when no record is older than what its last server was told; True if what was read before is to be read anew.

        That is whenever this run of the store has just been passed for the first time, even if nobody had to be waited for:
        it may have been read before the others had looked.

        Raises:
            StorageUnavailable: This server itself has not yet written again what the store lost, and that takes long.
            StorageError: The store cannot be reached.
        """
        run = await self.current_run()
        if run == self.passed_run or not run:
            return False
        async with self._waiting:
            try:
                while run and run != self.passed_run:
                    if behind := await self._behind(run):
                        if not self.awaited_servers:
                            log.warning(
                                "the store was restarted; logins wait until these have looked: %s", ", ".join(behind)
                            )
                        self.awaited_servers = behind
                        await self._clock.sleep(LOOK_S)
                        run = await self.current_run()
                        if self._clock.monotonic_s() - self._since_s < self._patience_s:
                            continue
                        await self._give_up(run)
                    self.passed_run = run
            finally:
                self.awaited_servers = ()
        return True

    async def _behind(self, run: str) -> tuple[str, ...]:
        """The servers that have not vouched for this run."""
        runs = _decode(await self._storage.load(SERVER_STORE_RUNS))
        return tuple(sorted(name for name, seen in runs.items() if seen != run))

    async def _give_up(self, run: str) -> None:
        """Nobody waits for the dead again: who is alive after all says so by itself."""
        behind = await self._behind(run)
        if self._name in behind:
            raise StorageUnavailable(
                "the store was restarted, and what it lost of this server is not written again yet",
                hint="keeper.degraded says why; until then nobody gets in with an older record",
            )
        for name in behind:
            await self._change([Guard(server_lease(name), None)], lambda runs, name=name: _without(runs, [name]))
        if behind:
            log.critical(
                "the store was restarted, and %s did not look within %.0f s whether it lost something of theirs: "
                "who logged out there just before may get in as they were earlier",
                ", ".join(behind),
                self._patience_s,
            )

    async def _change(self, guards: Sequence[Guard], to: Callable[[dict[str, str]], dict[str, str]]) -> None:
        """Compare and set, until nobody comes in between, or a guard does not hold."""
        while True:
            found = await self._storage.load(SERVER_STORE_RUNS)
            runs = _decode(found)
            wanted = to(runs)
            if wanted == runs:
                return
            ours = Guard(SERVER_STORE_RUNS, found)
            put = Put(SERVER_STORE_RUNS, msgspec.json.encode(wanted, order="sorted"))
            (outcome,) = await self._storage.write(
                [Transaction([*guards, ours], [put if wanted else Delete(SERVER_STORE_RUNS)])]
            )
            if isinstance(outcome, Committed):
                return
            if not isinstance(outcome, Refused):
                raise outcome.error
            if outcome.guard.key != SERVER_STORE_RUNS:
                return


def _without(runs: dict[str, str], names: Sequence[str]) -> dict[str, str]:
    return {name: run for name, run in runs.items() if name not in names}


def _decode(stored: bytes | None) -> dict[str, str]:
    try:
        return {} if stored is None else msgspec.json.decode(stored, type=dict[str, str])
    except UNDECODABLE as error:
        log.error("%s cannot be read and is written anew: %s", SERVER_STORE_RUNS, error)
        return {}
