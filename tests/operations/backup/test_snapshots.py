"""What a store must allow, so that it can be backed up while it runs."""

import asyncio
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from operations.traders import CLOCK, GAME, Trader
from realmkeep import Keeper
from realmkeep.errors import BackupError, ConfigError, RestoreRefused, StorageMisconfigured, StorageUnavailable
from realmkeep.operations.backup.creating import create_backup
from realmkeep.operations.backup.restoring import plan_restore
from realmkeep.storage import redis_snapshot
from realmkeep.storage.snapshots import pin_snapshot
from realmkeep.testing.servers import StoreServer


class Usage(NamedTuple):
    """As `shutil.disk_usage` returns it."""

    total: int
    used: int
    free: int


def nearly_full(_: Path) -> Usage:
    return Usage(10**9, 10**9 - 10**7, 10**7)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("memory://", "memory:// ends with its process, so nothing of it is left to restore"),
        ("other://host/db", "use the tools of its engine"),
    ],
)
def test_a_store_without_files_says_so(tmp_path: Path, url: str, said: str) -> None:
    with pytest.raises(StorageMisconfigured, match=said):
        pin_snapshot(url, tmp_path, CLOCK)


def test_a_malformed_url_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^the storage URL is malformed"):
        pin_snapshot("redis://[secret", tmp_path, CLOCK)


@pytest.mark.parametrize("url", ["embedded:///{}/none", "sqlite:///{}/none.db", "redis+unix://{}/none"])
async def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, backups: Path, url: str) -> None:
    with pytest.raises(StorageUnavailable):
        await create_backup(url.format(tmp_path), backups, GAME, clock=CLOCK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups"]
    assert sorted(path.name for path in backups.iterdir()) == ["lock"]


async def test_a_store_that_cannot_write_its_snapshot_says_so(
    pair: tuple[StoreServer, StoreServer], backups: Path
) -> None:
    store, _ = pair
    (store.directory / "dump.rdb").mkdir()
    with pytest.raises(StorageUnavailable, match="could not write its snapshot"):
        await create_backup(store.url, backups, GAME, clock=CLOCK)
    assert sorted(path.name for path in backups.iterdir()) == ["lock"]


async def test_a_disk_without_room_is_noticed_before_the_store_would_stop_for_it(
    pair: tuple[StoreServer, StoreServer], backups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = pair
    monkeypatch.setattr(shutil, "disk_usage", nearly_full)
    with pytest.raises(StorageUnavailable, match="has 10,000,000 bytes left, too few for a snapshot"):
        await create_backup(store.url, backups, GAME, clock=CLOCK)
    assert not (store.directory / "dump.rdb").exists()


@pytest.mark.parametrize("forbidden", ["config|get", "bgsave"])
async def test_a_host_that_forbids_its_commands_is_named(
    pair: tuple[StoreServer, StoreServer], backups: Path, forbidden: str
) -> None:
    store, _ = pair
    rules = ("ACL", "SETUSER", "realm", "on", ">hunter2", "~*", "&*", "+@all", f"-{forbidden}")
    await asyncio.to_thread(store.ask, *rules)
    with pytest.raises(StorageMisconfigured) as refused:
        await create_backup(f"redis+unix://realm:hunter2@{store.socket_path}", backups, GAME, clock=CLOCK)
    assert "hunter2" not in str(refused.value)
    assert sorted(path.name for path in backups.iterdir()) == ["lock"]


async def test_without_the_right_to_rewrite_there_is_a_log_all_the_same(
    pair: tuple[StoreServer, StoreServer], backups: Path
) -> None:
    store, _ = pair
    await asyncio.to_thread(store.ask, "SET", "trader:1:version", "2")
    await asyncio.to_thread(store.ask, "ACL", "SETUSER", "realm", "on", "nopass", "~*", "&*", "+@all", "-bgrewriteaof")
    url = f"redis+unix://realm:any@{store.socket_path}"
    while (manifest := (await create_backup(url, backups, GAME, clock=CLOCK)).manifest).log_to_s is None:
        assert manifest.log_reason == "its append-only file was begun a moment before"
    assert manifest.log_from_s is not None
    assert manifest.log_to_s >= manifest.log_from_s
    assert await asyncio.to_thread(store.ask, "EXISTS", "trader:1:version") == 1


async def test_a_database_beside_others_is_refused(pair: tuple[StoreServer, StoreServer], backups: Path) -> None:
    with pytest.raises(StorageMisconfigured, match="a snapshot holds all databases"):
        await create_backup(f"{pair[0].url}?db=3", backups, GAME, clock=CLOCK)
    with pytest.raises(StorageMisconfigured, match="may hold other realms"):
        await create_backup(f"{pair[0].url}?prefix=north", backups, GAME, clock=CLOCK)


@pytest.mark.parametrize("url", ["redis-cluster://h:7001/north", "rediss-sentinel://h/main/0"])
async def test_a_store_with_replicas_is_backed_up_and_restored_through_a_copy(
    url: str, pair: tuple[StoreServer, StoreServer], backups: Path
) -> None:
    with pytest.raises(StorageMisconfigured, match="realmkeep store copy"):
        await create_backup(url, backups, GAME, clock=CLOCK)
    async with Keeper.open(pair[0].url, rescue_path=Path("/dev/null")) as keeper:
        await keeper.login(Trader, 1, create=Trader)
    await create_backup(pair[0].url, backups, GAME, clock=CLOCK)
    with pytest.raises(RestoreRefused, match="realmkeep store copy"):
        await plan_restore(backups, url, clock=CLOCK)


async def test_the_snapshot_of_another_store_is_noticed(pair: tuple[StoreServer, StoreServer], backups: Path) -> None:
    """As on a machine that has a store of its own in the directory that the realm's store has elsewhere."""
    store, other = pair
    for each in pair:
        async with Keeper.open(each.url, rescue_path=Path("/dev/null")) as keeper:
            await keeper.login(Trader, 1, create=Trader)
    await asyncio.to_thread(other.ask, "SAVE")
    real = redis_snapshot._Source.open_snapshot

    def of_the_other(source: redis_snapshot._Source) -> object:
        (store.directory / "dump.rdb").write_bytes((other.directory / "dump.rdb").read_bytes())
        return real(source)

    redis_snapshot._Source.open_snapshot = of_the_other  # pyright: ignore[reportAttributeAccessIssue]
    try:
        with pytest.raises(BackupError, match=r"is not of the store .*: it has another id|are of another store"):
            await create_backup(store.url, backups, GAME, clock=CLOCK)
    finally:
        redis_snapshot._Source.open_snapshot = real
    assert sorted(path.name for path in backups.iterdir()) == ["lock"]


async def test_a_rewrite_of_the_append_only_file_meanwhile_harms_nothing(
    pair: tuple[StoreServer, StoreServer], backups: Path
) -> None:
    store, _ = pair
    async with Keeper.open(store.url, rescue_path=Path("/dev/null")) as keeper:
        await keeper.login(Trader, 1, create=Trader)
    rewriting = True

    async def rewrite() -> None:
        while rewriting:
            await asyncio.to_thread(store.ask, "BGREWRITEAOF")

    task = asyncio.ensure_future(rewrite())
    created = await create_backup(store.url, backups, GAME, clock=CLOCK)
    rewriting = False
    await task
    assert created.finding.verdict == "good"
    assert created.manifest.census.records == {"trader": 1}
