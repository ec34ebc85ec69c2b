"""The restart barrier: after a restart of the store, claims wait until every server has looked for losses of its own.

A store with a loss window may come back with less than it acknowledged. Each server then restores its lost writes. But a
record that was released in the lost moment has no owner, and another server could claim its stale copy. So each server
confirms under one key the run of the store in which it has looked, and a claim waits until all of them have confirmed it.
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
    """One server's view of the runs of its store, and its confirmations of them.

    Args:
        storage: The store.
        clock: The clock.
        name: The server's name.
        ttl_s: Seconds for which a silent server keeps its records. Other servers have a moment longer, from the first sight
            of a restart, to look for losses. A server that takes longer is dead, and its lease has run out by then.

    Attributes:
        confirmed_run: The run of the store in which none of our acknowledged writes was missing; empty before the first.
        passed_run: The last run of the store that every server had confirmed; claims go on in it without waiting.
        awaited_servers: The servers whose confirmation claims wait for now.
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
        """Whether the store may lose acknowledged writes."""
        return self._storage.capability.loss_window_s != 0

    async def current_run(self) -> str:
        """The run of the store; empty if no barrier is needed, or the store cannot tell its runs apart.

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
        """Confirm that this run of the store holds every write that was acknowledged to this server.

        Args:
            run: The run of the store as it was before the look; an empty one confirms nothing.
            lease: Guards our lease: a server that took over our name confirms its own runs.

        Raises:
            StorageError: The store cannot be reached.
        """
        if run:
            await self._change([lease], lambda runs: {**runs, self._name: run})
            self.confirmed_run = run

    async def withdraw(self) -> None:
        """Let no other server wait for this one any more; all its acknowledged writes are safe.

        Raises:
            StorageError: The store cannot be reached.
        """
        if self.needed:
            await self._change([], lambda runs: _without(runs, [self._name]))

    async def wait_until_passed(self) -> bool:
        """Return when every server has restored its lost writes; True if the caller must repeat its earlier reads.

        The result is True when this run of the store is passed for the first time, even without any waiting: the reads may
        have come before another server's look.

        Raises:
            StorageUnavailable: This server itself has not restored its lost writes within the patience.
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
                                "the store was restarted; logins wait until these servers have looked for lost writes: %s",
                                ", ".join(behind),
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
        """The servers that have not confirmed this run."""
        runs = _decode(await self._storage.load(SERVER_STORE_RUNS))
        return tuple(sorted(name for name, seen in runs.items() if seen != run))

    async def _give_up(self, run: str) -> None:
        """Remove dead servers from the list, so that no claim waits for them again; a live one adds itself anew."""
        behind = await self._behind(run)
        if self._name in behind:
            raise StorageUnavailable(
                "the store was restarted, and this server has not restored its lost writes yet",
                hint="keeper.degraded says why; until then no player gets in with an older record",
            )
        for name in behind:
            await self._change([Guard(server_lease(name), None)], lambda runs, name=name: _without(runs, [name]))
        if behind:
            log.critical(
                "the store was restarted, and %s did not look for lost writes within %.0f s: "
                "players that had logged out there just before may get in with an older record",
                ", ".join(behind),
                self._patience_s,
            )

    async def _change(self, guards: Sequence[Guard], to: Callable[[dict[str, str]], dict[str, str]]) -> None:
        """Compare and set, and try again after each change in between, until it is done or a guard does not hold."""
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
