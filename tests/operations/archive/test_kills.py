"""A server is killed at every call of a cut, a freeze, a thaw and an erasure; afterwards both tiers are equal, and gold is conserved."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import pytest

from operations.archive.rig import OLD_S, Nomad, Rig, pay
from realmkeep.errors import RealmkeepError
from realmkeep.keeping.keeper import engine_of
from realmkeep.keys import record_keys
from realmkeep.operations.archive.erasing import Intent, finish
from realmkeep.operations.archive.verifying import verify
from realmkeep.storage import Delete, Guard, Put, Transaction
from realmkeep.storage.cold import ColdBatch, ColdHead, ColdLetter, ColdRow, ColdWritten, MemoryColdStore

CALLS_MAX = 40


class Killed(Exception):
    """The process of the server has ended."""


class Counting(MemoryColdStore):
    """A cold store before which the server dies at one call: before the store has heard of it, or before it hears the answer."""

    def __init__(self, cold: MemoryColdStore) -> None:
        super().__init__()
        self.inner = cold
        self.dies_at, self.calls, self.after = -1, 0, False

    async def _call(self, work: Callable[[], Awaitable[Any]]) -> Any:
        self.calls += 1
        if self.calls == self.dies_at and not self.after:
            raise Killed
        answer = await work()
        if self.calls == self.dies_at:
            raise Killed
        return answer

    async def write(self, batch: ColdBatch) -> ColdWritten:
        return await self._call(lambda: self.inner.write(batch))

    async def rows(self, keys: Sequence[str]) -> list[ColdRow | None]:
        return await self._call(lambda: self.inner.rows(keys))

    async def heads(self, keys: Sequence[str]) -> list[ColdHead | None]:
        return await self._call(lambda: self.inner.heads(keys))

    async def erase(self, key: str, revision: int, boards: Sequence[str] = ()) -> None:
        await self._call(lambda: self.inner.erase(key, revision, boards))

    def all_heads(self) -> AsyncIterator[list[ColdHead]]:
        return self.inner.all_heads()

    async def marks(self) -> dict[str, int]:
        return await self.inner.marks()

    async def unopened(self, after: int, count: int) -> list[tuple[int, ColdLetter]]:
        return await self.inner.unopened(after, count)


class HotCalls:
    """Counts the calls to the hot store as well, together with those to the cold one."""

    def __init__(self, counting: Counting, storage: Any) -> None:
        self._counting, self._storage = counting, storage

    async def write(self, transactions: Sequence[Any]) -> Any:
        return await self._counting._call(lambda: self._storage.write(transactions))

    async def load_many(self, keys: Sequence[str]) -> Any:
        return await self._counting._call(lambda: self._storage.load_many(keys))

    async def flush(self) -> None:
        await self._counting._call(self._storage.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)


async def cut(rig: Rig, hot: Any) -> None:
    await rig.a.shipper.ship()


async def freeze(rig: Rig, hot: Any) -> None:
    rig.a.freezer._storage = hot
    await rig.a.freezer.freeze(["nomad:3"])


async def thaw(rig: Rig, hot: Any) -> None:
    claims = engine_of(rig.lab.keeper).claims
    claims._storage = hot
    await claims.claim(Nomad, record_keys("nomad", 4), Nomad)


async def erase(rig: Rig, hot: Any) -> None:
    """As `operations/privacy` does it."""
    at = record_keys("nomad", 5)
    intent = Intent(at.record, rig.lab.clock.wall_us() + 60_000_000)
    gone = [Delete(key) for key in (at.record, at.version, at.ops)]
    effects = [*gone, Put(at.updated, b"%d" % intent.revision, expire_s=60), intent.put]
    await hot.write([Transaction([Guard(at.owner, None)], effects)])
    await finish(hot, rig.cold, intent)


SCENES = {"cut": cut, "freeze": freeze, "thaw": thaw, "erase": erase}


async def killed_at(scene: str, call: int, *, after: bool) -> bool:
    """Play a scene in which the server dies at a call; False if the scene has fewer calls."""
    cold = MemoryColdStore()
    counting = Counting(cold)
    async with Rig(counting) as rig:
        for id_ in (3, 4, 5):
            await rig.lab.finish((await rig.nomad(id_)).release())
        ada, bob = await rig.nomad(1), await rig.nomad(2)
        await rig.lab.finish(rig.a.sweeper.sweep())
        await rig.ship()
        await rig.lab.advance(OLD_S)
        assert (await rig.a.freezer.freeze(["nomad:4"])).frozen == 1
        await rig.lab.finish(rig.lab.keeper.commit(pay, ada, bob))
        counting.calls, counting.dies_at, counting.after = 0, call, after
        try:
            await rig.lab.finish(SCENES[scene](rig, HotCalls(counting, engine_of(rig.lab.keeper).storage)))
        except Killed:
            died = True
        except RealmkeepError:
            died = counting.calls >= call
        else:
            died = False
        counting.dies_at = -1
        await rig.lab.crash()
        rig.archive(await rig.lab.server("a"))
        await rig.lab.advance(60)
        storage = engine_of(rig.lab.keeper).storage
        await rig.lab.finish(rig.a.sweeper.sweep())
        found = await verify(storage, cold)
        assert (found.faults, found.behind, found.only_cold) == ([], 0, 0)
        erased = rig.lab.store.value("nomad:5") is None
        assert erased == (await rig.gold(5) is None)
        assert not [key async for key in storage.keys("server:erasing:*")]
        golds = [(await rig.nomad(id_, gold=0)).record.gold for id_ in (1, 2, 3, 4)]
        assert golds == [90, 110, 100, 100]
        return died


@pytest.mark.parametrize("scene", SCENES)
async def test_a_kill_at_every_call_leaves_both_tiers_equal(scene: str) -> None:
    played = 0
    for after in (False, True):
        for call in range(1, CALLS_MAX):
            if not await killed_at(scene, call, after=after):
                break
            played += 1
    assert played >= 2
