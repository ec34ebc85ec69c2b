"""Faults of a store with replicas, beyond those of its primary."""

import asyncio
from typing import Final, Protocol, runtime_checkable

from realmkeep.drill.checks import Stuck
from realmkeep.drill.faults.fault import Fault, Harm, registered
from realmkeep.drill.faults.stores import DEAD, until
from realmkeep.drill.processes import state_of
from realmkeep.drill.stores.store import Trait
from realmkeep.testing.replicated import Node

PAUSE_S: Final = 1.0


@runtime_checkable
class _Replicated(Protocol):
    def replica(self) -> Node: ...
    def complete(self) -> None: ...


@runtime_checkable
class _Slotted(Protocol):
    def move(self) -> None: ...
    def primary(self) -> Node | None: ...


class _OfReplica(Fault):
    harm = Harm.STORE
    needs = frozenset({Trait.REPLICAS})

    async def replica(self) -> tuple[Node, int]:
        store = self.realm.store
        assert isinstance(store, _Replicated)
        node = await asyncio.to_thread(store.replica)
        if node.process is None:
            raise Stuck("the replica does not run")
        return node, node.process.pid

    async def complete(self) -> None:
        store = self.realm.store
        assert isinstance(store, _Replicated)
        await asyncio.to_thread(store.complete)


@registered
class ReplicaKill(_OfReplica):
    """Nothing is committed that the primary alone has."""

    name = "replica-kill"
    what = "the only replica of the primary is killed (SIGKILL) and started again"

    async def begin(self) -> None:
        """Kill it."""
        self._node, pid = await self.replica()
        await asyncio.to_thread(self._node.kill)

        async def dead() -> bool:
            return state_of(pid) in DEAD

        await until(self, dead, "the replica's process is dead")
        self.saw(f"the replica (process {pid}) was seen dead")

    async def end(self) -> None:
        """Start it again."""
        await asyncio.to_thread(self._node.start)
        await self.complete()


@registered
class ReplicaLag(_OfReplica):
    """It is online and answers nothing, so commits wait; then the primary is killed."""

    name = "replica-lag"
    what = "the replica is stopped (SIGSTOP) for a second; then the primary is killed, and the replica takes its place"

    async def begin(self) -> None:
        """Stop it, and kill the primary while it is behind."""
        node, pid = await self.replica()
        await asyncio.to_thread(node.pause)
        await self.realm.clock.sleep(PAUSE_S)
        stood_still = state_of(pid) == "T"
        await asyncio.to_thread(self.realm.store.kill)
        node.resume()
        if stood_still:
            self.saw(f"the replica (process {pid}) was seen stopped when the primary was killed")

    async def end(self) -> None:
        """Start the former primary again, once the replica leads."""
        await asyncio.to_thread(self.realm.store.start)


@registered
class SlotMove(Fault):
    """Requests follow, in their order."""

    name = "slot-move"
    what = "the slot of the realm is moved to another primary, key by key"
    harm = Harm.STORE
    needs = frozenset({Trait.SLOTS})

    async def begin(self) -> None:
        """Move it."""
        store = self.realm.store
        assert isinstance(store, _Slotted)
        before = await asyncio.to_thread(store.primary)
        await asyncio.to_thread(store.move)
        if await asyncio.to_thread(store.primary) is not before:
            self.saw("the realm was seen on another primary")

    async def end(self) -> None:
        """Leave it there."""
