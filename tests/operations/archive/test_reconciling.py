"""A lost or restored tier: the other one tells what is newer, nothing comes back twice, and nobody begins again."""

import asyncio
from pathlib import Path

import pytest

from operations.archive.rig import Nomad, Rig, pay
from realmkeep import keys
from realmkeep.errors import CopyRefused, Quarantined, StorageUnavailable
from realmkeep.keeping.keeper import engine_of
from realmkeep.operations.archive.reconciling import IDS_SKIPPED, Reconciler, ReconcileReport
from realmkeep.operations.archive.verifying import verify
from realmkeep.operations.backup.erasures import Erasures, note_erasure
from realmkeep.storage import Delete, Put, Transaction
from realmkeep.storage.cold import Stub
from realmkeep.storage.memory import MemoryStorage, MemoryStore


async def emptied(rig: Rig) -> None:
    """FLUSHALL."""
    storage = MemoryStorage(rig.lab.store, clock=rig.lab.clock)
    await storage.connect()
    await storage.write([Transaction((), [Delete(key)]) async for key in storage.keys("*")])


async def reconciled(rig: Rig, *, as_of_us: int | None = None, erasures: Erasures | None = None) -> ReconcileReport:
    storage = MemoryStorage(rig.lab.store, clock=rig.lab.clock)
    await storage.connect()
    return await Reconciler(storage, rig.cold, as_of_us=as_of_us, erasures=erasures).run()


async def played(rig: Rig) -> int:
    """Two trade, a letter waits, an account exists; all of it is in the cold tier. Returns the highest id given out."""
    keeper = rig.lab.keeper
    ada, bob = await rig.nomad(1), await rig.nomad(2)
    await rig.lab.finish(keeper.commit(pay, ada, bob))
    await rig.lab.finish((await rig.nomad(3)).release())

    def send(giver: Nomad) -> None:
        giver.gold -= 30
        keeper.tx.deliver(Nomad, 3, 30)

    await rig.lab.finish(keeper.commit(send, ada))
    given = await rig.lab.finish(keeper.allocate_id(5))
    await engine_of(keeper).storage.write([Transaction((), [Put(keys.account("ada"), b"an account")])])
    await rig.lab.finish(rig.a.sweeper.sweep())
    await rig.ship()
    await rig.lab.finish(rig.a.sweeper.sweep())
    return given + 4


async def golds(rig: Rig, *ids: int) -> list[int]:
    found: list[int] = []
    for id_ in ids:
        session = await rig.nomad(id_, gold=0)
        await rig.lab.finish(session.open_letters())
        found.append(session.record.gold)
    return found


async def test_a_lost_hot_store_is_rebuilt_with_its_letters_accounts_and_ids() -> None:
    async with Rig() as rig:
        given = await played(rig)
        await rig.lab.crash()
        await emptied(rig)
        report = await reconciled(rig)
        assert (report.stubs, report.put, report.letters, report.denied) == (3, 1, 1, [])
        assert rig.lab.store.value("account:ada") == b"an account"
        again = await reconciled(rig)
        assert (again.stubs, again.put, again.letters, again.ids_from) == (0, 0, 0, 0)
        rig.archive(await rig.lab.server("a"))
        assert await rig.lab.finish(rig.lab.keeper.allocate_id()) == given + IDS_SKIPPED + 1
        assert await golds(rig, 1, 2, 3) == [60, 110, 130]


async def test_with_a_server_alive_no_player_becomes_a_beginner() -> None:
    async with Rig(loss_window_s=1.0) as rig:
        gone = await rig.server("gone")
        await rig.nomad(1, at=gone)
        await rig.lab.finish(gone.close())
        await rig.lab.finish(rig.archivers["gone"].shipper.ship(is_last=True))
        await rig.nomad(2)
        await rig.lab.advance(30)
        await rig.ship()
        await emptied(rig)
        with pytest.raises(StorageUnavailable):
            await rig.nomad(1, gold=0)
        await rig.lab.advance(60)  # the live player is written again
        assert rig.lab.stored(Nomad, 2) is not None
        with pytest.raises(StorageUnavailable, match="may have lost it"):
            await rig.nomad(1, gold=0)
        await rig.lab.finish(rig.lab.keeper.close())
        report = await reconciled(rig)
        assert (report.stubs, report.denied) == (1, [])
        await rig.lab.crash()
        await rig.lab.server("a")
        assert await golds(rig, 1, 2) == [100, 100]


async def test_an_old_hot_backup_gets_what_only_the_cold_tier_has() -> None:
    async with Rig() as rig:
        await rig.nomad(1)
        await rig.nomad(2)
        for id_ in (1, 2):
            await rig.lab.finish(rig.session(id_).release())
        backup, taken_us = rig.lab.store.snapshot(), rig.lab.clock.wall_us()
        await rig.lab.advance(10)
        ada, bob = await rig.nomad(1), await rig.nomad(2)
        await rig.lab.finish(rig.lab.keeper.commit(pay, ada, bob))
        await rig.lab.finish(rig.lab.keeper.close())
        await rig.lab.finish(rig.a.shipper.ship(is_last=True))
        await rig.lab.crash()
        rig.lab.store.restore(backup)
        storage = MemoryStorage(rig.lab.store, clock=rig.lab.clock)
        await storage.connect()
        ahead = b"%d" % (rig.lab.clock.wall_us() + 1)  # a restore fences every record off with a new revision
        fenced = [Put(f"nomad:{id_}:updated", ahead) for id_ in (1, 2)]
        await storage.write([Transaction((), [*fenced, Delete("server:a:lease")])])
        report = await reconciled(rig, as_of_us=taken_us)
        assert report.stubs == 2
        rig.archive(await rig.lab.server("a"))
        assert await golds(rig, 1, 2) == [90, 110]


async def test_an_old_cold_backup_denies_and_names_those_who_were_frozen_since() -> None:
    async with Rig() as rig:
        await rig.nomad(1)
        await rig.ship()
        old = dict(rig.cold._rows)
        rig.session(1).record.xp = 1
        assert await rig.freeze(1) == 1
        rig.cold._rows = old
        with pytest.raises(Quarantined):
            await rig.nomad(1, gold=0)
        found = await verify(engine_of(rig.lab.keeper).storage, rig.cold)
        assert [fault.key for fault in found.faults] == ["nomad:1"]
        await rig.lab.finish(rig.lab.keeper.close())
        assert (await reconciled(rig)).denied == ["nomad:1"]
        assert Stub.read(rig.lab.store.value("nomad:1")) is not None


async def test_an_erased_player_comes_back_from_no_backup(tmp_path: Path) -> None:
    async with Rig() as rig:
        await played(rig)
        hot, rows = rig.lab.store.snapshot(), dict(rig.cold._rows)
        await asyncio.to_thread(note_erasure, tmp_path, "nomad:1", at_us=rig.lab.clock.wall_us())
        await rig.lab.crash()
        erasures = await asyncio.to_thread(Erasures, tmp_path, 0)
        for lost in (hot, MemoryStore(rig.lab.clock).snapshot()):
            rig.lab.store.restore(lost)
            storage = MemoryStorage(rig.lab.store, clock=rig.lab.clock)
            await storage.connect()
            await storage.write([Transaction((), [Delete("server:a:lease")])])
            rig.cold._rows = dict(rows)
            report = await reconciled(rig, erasures=erasures)
            assert report.erased == 1
            assert rig.lab.store.value("nomad:1") is None
            assert await rig.gold(1) is None
            assert await rig.gold(2) == 110


async def test_a_tombstone_deletes_what_an_old_hot_backup_brought_back() -> None:
    async with Rig() as rig:
        await played(rig)
        old = rig.lab.store.snapshot()
        await rig.cold.erase("nomad:3", rig.lab.clock.wall_us() + 60_000_000)
        await rig.lab.crash()
        rig.lab.store.restore(old)
        storage = MemoryStorage(rig.lab.store, clock=rig.lab.clock)
        await storage.connect()
        with pytest.raises(CopyRefused, match="servers run"):
            await reconciled(rig)
        await storage.write([Transaction((), [Delete("server:a:lease")])])
        assert (await reconciled(rig)).deleted == 1
        assert not [key async for key in storage.keys("nomad:3*") if not key.endswith(":inbox")]


async def test_verify_tells_each_difference() -> None:
    async with Rig() as rig:
        storage = engine_of(rig.lab.keeper).storage
        for id_ in range(1, 7):
            await rig.nomad(id_)
            await rig.lab.finish(rig.session(id_).release())
        await rig.ship()
        await rig.lab.advance(400)
        await rig.lab.finish(rig.a.freezer.freeze(["nomad:1", "nomad:2"]))
        clean = await verify(storage, rig.cold)
        assert (clean.records, clean.frozen, clean.equal, clean.faults_count) == (6, 2, 6, 0)
        rows = rig.cold._rows
        del rows["nomad:2"], rows["nomad:6"]
        rows["nomad:3"] = type(rows["nomad:3"])("nomad:3", rows["nomad:3"].revision, 1, b"{}")
        rows["nomad:4"] = type(rows["nomad:4"])("nomad:4", rows["nomad:4"].revision + 1, 1, b"{}")
        await storage.delete("nomad:5")
        found = await verify(storage, rig.cold)
        assert {fault.key for fault in found.faults} == {"nomad:2", "nomad:3", "nomad:4"}
        assert (found.behind, found.only_cold, found.equal) == (1, 1, 1)
