"""Endings on real stores that do not do everything they are asked: an optional step never cancels a necessary one."""

import asyncio
import logging
from urllib.parse import urlsplit

import pytest

from keeping.game import Player, enter
from realmkeep.config import KeeperConfig
from realmkeep.errors import AlreadyOwned, StorageUnavailable
from realmkeep.keeping import Keeper
from realmkeep.storage import open_storage
from realmkeep.storage.redis import RedisStorage
from realmkeep.storage.redis_url import parse_redis_url
from realmkeep.testing.lab import abandon
from realmkeep.testing.servers import StoreServer

pytestmark = pytest.mark.backend("valkey")


@pytest.mark.parametrize(
    "rights",
    ["+@all -bgsave", "+@all -bgsave -config -info -save -debug -shutdown"],
    ids=["no snapshots", "hosted"],
)
async def test_a_store_whose_user_may_not_administer_it_is_closed_cleanly(
    server: StoreServer, caplog: pytest.LogCaptureFixture, rights: str
) -> None:
    user = ("ACL", "SETUSER", "game", "on", ">secret", "~*", "&*", *rights.split())
    assert await asyncio.to_thread(server.ask, *user) == b"OK"
    url = f"redis+unix://game:secret@{server.socket_path}"
    keeper = await Keeper.open(url, config=KeeperConfig(name="town"))
    (await enter(keeper)).record.xp = 5
    report = await keeper.close()
    assert (report.clean, report.released) == (True, 1)
    for left in ("*:owner", "*:lease"):
        assert await asyncio.to_thread(server.ask, "KEYS", left) == []
    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == ["WARNING"]
    assert "the store took no snapshot" in caplog.text


async def test_a_reconnection_that_fails_in_an_unforeseen_way_is_told_and_tried_again(
    server: StoreServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    storage = RedisStorage(parse_redis_url(urlsplit(server.url)))
    await storage.connect()
    whole, calls = RedisStorage._open, list[str]()

    async def fails_once(self: RedisStorage) -> None:
        calls.append("open")
        if len(calls) == 1:
            raise ZeroDivisionError
        await whole(self)

    monkeypatch.setattr(RedisStorage, "_open", fails_once)
    await asyncio.to_thread(server.kill)
    async with asyncio.timeout(30):
        while await is_there(storage):
            await asyncio.sleep(0)
    await asyncio.to_thread(server.start)
    async with asyncio.timeout(30):
        while not await is_there(storage):
            await asyncio.sleep(0.01)
    assert "cannot be connected again" in caplog.text
    await storage.disconnect()


@pytest.mark.parametrize(
    "command",
    [
        "RPUSH rover:999:owner x",
        "HSET rover:1 a b",
        "RPUSH rover:1:ops x",
        "SADD rover:1:updated 1",
        "SET rover:a:b:owner x",
    ],
)
async def test_a_key_of_another_type_keeps_nobody_else_from_coming_back(server: StoreServer, command: str) -> None:
    storage = open_storage(server.url)
    keeper = await Keeper.open(storage, config=KeeperConfig(name="town"))
    for number in (1, 2, 3):
        await enter(keeper, number)
    abandon(keeper)
    await storage.disconnect()
    key = command.split()[1]
    await asyncio.to_thread(server.ask, "DEL", key)
    await asyncio.to_thread(server.ask, *command.split())
    async with await Keeper.open(server.url, config=KeeperConfig(name="town")) as again:
        back = {session.id for session in await again.recover(Player)}
        assert back == ({"2", "3"} if key.startswith("rover:1") else {"1", "2", "3"})
        assert bool(again.degraded) == key.startswith("rover:1")


async def is_there(storage: RedisStorage) -> bool:
    try:
        await storage.load("a")
    except StorageUnavailable:
        return False
    return True


async def test_a_lease_that_a_store_keeps_for_a_year_ends_when_it_stands_still(server: StoreServer) -> None:
    """As after its machine's clock was set back: only a server that looks can tell."""
    storage = open_storage(server.url)
    town = await Keeper.open(storage, config=KeeperConfig(name="town", heartbeat_s=0.5, lease_ttl_s=1.5))
    await enter(town)
    abandon(town)
    await storage.disconnect()
    assert await asyncio.to_thread(server.ask, "PEXPIREAT", "server:town:lease", 4_000_000_000_000) == 1
    async with await Keeper.open(server.url, config=KeeperConfig(name="north")) as north:
        with pytest.raises(AlreadyOwned) as refused:
            await enter(north)
        assert 0 < refused.value.wait_s <= 1.5
        await asyncio.sleep(refused.value.wait_s)
        assert (await enter(north)).connected
    assert await asyncio.to_thread(server.ask, "EXISTS", "server:town:lease") == 1
