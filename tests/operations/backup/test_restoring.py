"""Restoring: refusals, the fence, erasures, and a restore that is killed."""

import asyncio
import os
import re
from pathlib import Path

import pytest

from operations.backup.conftest import Engine
from operations.traders import CLOCK, GAME, TRADERS, Trader, census_of, trade, traders_of, trading
from realmkeep import Keeper, KeeperConfig
from realmkeep.errors import BackupDamaged, BackupError, InvalidKey, RestoreRefused, StorageLocked, StorageMisconfigured
from realmkeep.keys import SERVER_ID_COUNTER, SERVER_RESTORING
from realmkeep.operations.backup.creating import create_backup
from realmkeep.operations.backup.erasures import note_erasure
from realmkeep.operations.backup.fence import IDS_SKIPPED
from realmkeep.operations.backup.manifest import Manifest
from realmkeep.operations.backup.restoring import RestoreReport, plan_restore, restore_backup
from realmkeep.storage import Put, Transaction, open_storage, redis_copy
from realmkeep.testing.servers import StoreServer


async def backed_up(url: str, backups: Path) -> Manifest:
    async with trading(url):
        """A realm with traders."""
    return (await create_backup(url, backups, GAME, clock=CLOCK)).manifest


async def restored(backups: Path, url: str) -> RestoreReport:
    plan = await plan_restore(backups, url, clock=CLOCK)
    return await restore_backup(plan, GAME, identities=(), clock=CLOCK)


async def test_a_live_realm_is_never_restored_into(engine: Engine, backups: Path) -> None:
    async with trading(engine.realm):
        await create_backup(engine.realm, backups, GAME, clock=CLOCK)
        with pytest.raises((RestoreRefused, StorageLocked)) as refused:
            await plan_restore(backups, engine.realm, clock=CLOCK)
    said = (
        r"these servers use the store .*: realm-1"
        if engine.realm.startswith(("redis", "postgresql"))
        else r"(is )?open in process|has .* open"
    )
    assert re.search(said, str(refused.value))


async def test_a_store_that_is_not_empty_is_never_restored_into(engine: Engine, backups: Path) -> None:
    manifest = await backed_up(engine.realm, backups)
    before = await census_of(engine.realm)
    with pytest.raises(RestoreRefused, match="not empty"):
        await plan_restore(backups, engine.realm, clock=CLOCK)
    assert (await census_of(engine.realm)).differences(before) == []
    plan = await plan_restore(backups, engine.elsewhere, clock=CLOCK)
    await restored(backups, engine.elsewhere)
    with pytest.raises(RestoreRefused, match="not empty"):  # it was filled after the plan was made
        await restore_backup(plan, GAME, identities=(), clock=CLOCK)
    assert (await census_of(engine.elsewhere)).totals == manifest.census.totals


@pytest.mark.backend("embedded")
async def test_an_empty_directory_is_taken_and_one_that_fills_meanwhile_is_not(tmp_path: Path, backups: Path) -> None:
    await backed_up(f"embedded:///{tmp_path}/realm", backups)
    for name in ("empty", "filled"):
        (tmp_path / name).mkdir()
    await restored(backups, f"embedded:///{tmp_path}/empty")
    plan = await plan_restore(backups, f"embedded:///{tmp_path}/filled", clock=CLOCK)
    (tmp_path / "filled" / "theirs").write_bytes(b"")
    with pytest.raises(RestoreRefused, match="not empty"):
        await restore_backup(plan, GAME, identities=(), clock=CLOCK)
    assert [path.name for path in (tmp_path / "filled").iterdir()] == ["theirs"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups", "empty", "filled", "realm"]


async def test_a_damaged_backup_is_refused_before_anything_is_made(engine: Engine, backups: Path) -> None:
    manifest = await backed_up(engine.realm, backups)
    path = backups / manifest.name / manifest.files[0].name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(BackupDamaged, match="is not as it was written"):
        await plan_restore(backups, engine.elsewhere, name=manifest.name, clock=CLOCK)
    assert (await census_of(engine.elsewhere)).keys == 0


async def test_a_backup_goes_only_into_a_store_of_its_kind(tmp_path: Path, backups: Path) -> None:
    await backed_up(f"sqlite:///{tmp_path}/realm.db", backups)
    for url in (f"embedded:///{tmp_path}/other", "memory://"):
        with pytest.raises(RestoreRefused, match="is of a sqlite store and cannot be restored into"):
            await plan_restore(backups, url, clock=CLOCK)


async def test_there_is_nothing_to_restore_without_a_verified_backup(tmp_path: Path, backups: Path) -> None:
    url = f"sqlite:///{tmp_path}/realm.db"
    with pytest.raises(BackupError, match="there is no backup with a good verification"):
        await plan_restore(backups, url, clock=CLOCK)
    manifest = await backed_up(url, backups)
    (backups / manifest.name / "verdict.json").unlink()
    with pytest.raises(BackupError, match="there is no backup with a good verification"):
        await plan_restore(backups, f"sqlite:///{tmp_path}/other.db", clock=CLOCK)
    plan = await plan_restore(backups, f"sqlite:///{tmp_path}/other.db", name=manifest.name, clock=CLOCK)
    assert plan.manifest == manifest  # by its name it can be had


async def test_a_server_that_survived_the_restore_gives_its_records_up(
    pair: tuple[StoreServer, StoreServer], backups: Path
) -> None:
    """It runs on, with records that it owned before; the store is replaced under it, at the same address.

    Without new revisions it would take the restored state for a loss of the store, and write its own over it: it may heal.
    """
    store, elsewhere = pair
    config = KeeperConfig(tier1_rate_per_s=10_000, heal=True, heartbeat_s=0.05, lease_ttl_s=0.2)
    async with Keeper.open(store.url, config=config, rescue_path=Path(os.devnull)) as survivor:
        sessions = [await survivor.login(Trader, number, create=lambda: Trader(gold=10)) for number in (1, 2)]
        await create_backup(store.url, backups, GAME, clock=CLOCK)
        await survivor.commit(trade, *sessions)
        await restored(backups, elsewhere.url)
        await asyncio.to_thread(replace_files, store, elsewhere)
        while not all(session.ended for session in sessions):
            await CLOCK.sleep(0.01)
    traders = await traders_of(store.url)
    assert {number: trader.gold for number, trader in traders.items()} == {1: 10, 2: 10}


def replace_files(store: StoreServer, by: StoreServer) -> None:
    """Another store comes up at the address of this one."""
    store.kill()
    by.kill()
    (store.directory / "appendonlydir").rename(store.directory / "before")
    (by.directory / "appendonlydir").rename(store.directory / "appendonlydir")
    store.start()


async def test_ids_that_were_given_out_since_are_not_given_out_again(engine: Engine, backups: Path) -> None:
    async with Keeper.open(engine.realm, rescue_path=Path(os.devnull)) as keeper:
        last = await keeper.allocate_id()
        await create_backup(engine.realm, backups, GAME, clock=CLOCK)
        since = [await keeper.allocate_id() for _ in range(3)]
    await restored(backups, engine.elsewhere)
    async with Keeper.open(engine.elsewhere, rescue_path=Path(os.devnull)) as keeper:
        assert await keeper.allocate_id() == last + IDS_SKIPPED + 1
    assert max(since) < last + IDS_SKIPPED


async def test_what_was_erased_since_is_erased_again(engine: Engine, backups: Path) -> None:
    storage = open_storage(engine.realm)
    await storage.connect()
    skeleton = "server:skeleton:" + "a" * 32
    effects = [Put(key, b"zoe") for key in ("account:zoe", skeleton, "corrupt:trader:3:" + "b" * 16)]
    await storage.write([Transaction((), effects)])
    await storage.disconnect()
    await asyncio.to_thread(note_erasure, backups, "trader:1", at_us=CLOCK.wall_us())  # that person came back since
    manifest = await backed_up(engine.realm, backups)
    for record in ("trader:3", "account:zoe", "trader:999"):
        await asyncio.to_thread(note_erasure, backups, record, at_us=CLOCK.wall_us())
    assert b"zoe" not in (backups / "erasures.jsonl").read_bytes()
    report = await restored(backups, engine.elsewhere)
    assert report.erased == 2
    assert report.census == manifest.census  # as it was before they were erased again
    storage = open_storage(engine.elsewhere)
    await storage.connect()
    left = {key async for key in storage.keys("*")}
    await storage.disconnect()
    assert not {key for key in left if "trader:3" in key and not key.startswith("trader:3:x")}
    assert not left & {"account:zoe", skeleton}
    assert {"trader:1", "trader:2", "trader:2:updated"} <= left


async def test_only_records_are_erased(backups: Path) -> None:
    with pytest.raises(InvalidKey, match="is no record"):
        await asyncio.to_thread(note_erasure, backups, SERVER_ID_COUNTER, at_us=0)


async def test_damaged_erasures_stop_a_restore(tmp_path: Path, backups: Path) -> None:
    await backed_up(f"sqlite:///{tmp_path}/realm.db", backups)
    await asyncio.to_thread(note_erasure, backups, "trader:1", at_us=CLOCK.wall_us())
    with (backups / "erasures.jsonl").open("ab") as file:
        file.write(b"{")
    with pytest.raises(BackupDamaged, match="cannot be read"):
        await restored(backups, f"sqlite:///{tmp_path}/other.db")
    assert not (tmp_path / "other.db").exists()


async def test_no_server_starts_on_a_half_restored_store(
    pair: tuple[StoreServer, StoreServer], backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = pair
    await backed_up(one.url, backups)

    async def half_of_it(*_: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr(redis_copy, "copy_contents", half_of_it)
    with pytest.raises(ConnectionResetError):
        await restored(backups, two.url)
    monkeypatch.undo()
    with pytest.raises(StorageMisconfigured, match="a restore was not completed"):
        await Keeper.open(two.url, rescue_path=Path(os.devnull))
    with pytest.raises(RestoreRefused, match=r"an earlier restore .* was not completed .*empty the store"):
        await plan_restore(backups, two.url, clock=CLOCK)
    await asyncio.to_thread(two.ask, "FLUSHDB")
    await restored(backups, two.url)
    assert await asyncio.to_thread(two.ask, "EXISTS", SERVER_RESTORING) == 0
    assert len(await traders_of(two.url)) == TRADERS


async def test_expiries_and_keys_of_other_programs_come_along(
    pair: tuple[StoreServer, StoreServer], backups: Path
) -> None:
    one, two = pair
    for command in (
        ("SET", "server:sent:" + "c" * 32, "1", "PX", 600_000),
        ("RPUSH", "trader:1:inbox", b"\x00\xff", "", "third"),
        ("HSET", "theirs", "field", "value"),
    ):
        await asyncio.to_thread(one.ask, *command)
    await create_backup(one.url, backups, GAME, clock=CLOCK)
    (found,) = backups.glob("2*")
    plan = await plan_restore(backups, two.url, name=found.name, clock=CLOCK)
    await restore_backup(plan, GAME, identities=(), clock=CLOCK)
    for command in (
        ("PEXPIRETIME", "server:sent:" + "c" * 32),
        ("LRANGE", "trader:1:inbox", 0, -1),
        ("HGETALL", "theirs"),
    ):
        assert await asyncio.to_thread(two.ask, *command) == await asyncio.to_thread(one.ask, *command) != []


async def test_a_realm_is_restored_beside_another(pair: tuple[StoreServer, StoreServer], backups: Path) -> None:
    one, two = pair
    manifest = await backed_up(one.url, backups)
    await asyncio.to_thread(two.ask, "SET", "south:trader:1", "theirs")
    await restored(backups, f"{two.url}?prefix=north")
    assert (await census_of(f"{two.url}?prefix=north")).totals == manifest.census.totals
    others = await asyncio.to_thread(two.ask, "KEYS", "[^n]*")
    assert others == [b"south:trader:1"]


def test_trades_are_trades() -> None:
    one, other = Trader(gold=1), Trader()
    trade(one, other)
    assert (one.gold, other.gold) == (0, 1)
