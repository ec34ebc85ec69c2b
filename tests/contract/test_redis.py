import asyncio
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from realmkeep.clock import SystemClock
from realmkeep.storage import Storage, open_storage
from realmkeep.testing.contract import Backend, StorageContract
from realmkeep.testing.contract.advancing import AdvanceTests
from realmkeep.testing.contract.needs import NeedTests
from realmkeep.testing.contract.reading import ConvenienceTests, KeysTests, ReadTests
from realmkeep.testing.contract.transactions import TransactionTests
from realmkeep.testing.contract.values import TypeTests
from realmkeep.testing.servers import StoreServer
from suite.engines import needed


class RedisBackend(Backend):
    opens_twice = True
    histories = 20  # on two engines, and tests/property has more for the script

    def __init__(self, url: str) -> None:
        super().__init__(SystemClock())
        self._url = url

    def new(self) -> Storage:
        return open_storage(self._url, clock=self.clock)

    async def elapse(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def emptied(server: StoreServer) -> Backend:
    assert server.ask("FLUSHALL") == b"OK"
    return RedisBackend(server.url)


@pytest.mark.backend("valkey")
class TestValkey(StorageContract):
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
        with StoreServer(tmp_path_factory.mktemp("valkey")) as server:
            yield server

    @pytest.fixture
    def backend(self, server: StoreServer) -> Backend:
        return emptied(server)


KEYS = 60_000
FILL = """
for number = 1, tonumber(ARGV[1]) do redis.call("SET", "key:" .. number, "") end
"""
THIN_OUT = """
for number = 1, tonumber(ARGV[1]) do if number % 500 > 0 then redis.call("DEL", "key:" .. number) end end
"""


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[StoreServer]:
    with StoreServer(tmp_path) as server:
        server.ask("EVAL", FILL, 0, KEYS)
        yield server


@pytest.mark.backend("valkey")
@pytest.mark.parametrize("after", [1, 5_000, 30_000, 59_000])
async def test_a_store_that_shrinks_under_a_scan_shows_each_key_once(filled: StoreServer, after: int) -> None:
    storage = open_storage(filled.url)
    await storage.connect()
    seen: list[str] = []
    async for key in storage.keys():
        seen.append(key)
        if len(seen) == after:
            await asyncio.to_thread(filled.ask, "EVAL", THIN_OUT, 0, KEYS)
    assert len(seen) == len(set(seen))
    assert {f"key:{number}" for number in range(500, KEYS + 1, 500)} <= set(seen)
    await storage.disconnect()


@pytest.mark.backend("valkey")
async def test_a_scan_does_not_remember_every_key(filled: StoreServer) -> None:
    storage = open_storage(filled.url)
    await storage.connect()
    count = 0
    tracemalloc.start()
    try:
        async for _ in storage.keys():
            count += 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == KEYS
    assert peak < 3 * 1024**2, "a set of all of them takes 6 MiB"
    await storage.disconnect()


def infos(server: StoreServer) -> int:
    """How often the store was asked for INFO, this time left out."""
    answer = cast("bytes", server.ask("INFO", "commandstats")).decode()
    return int(answer.partition("cmdstat_info:calls=")[2].partition(",")[0] or 0)


@pytest.mark.backend("valkey")
async def test_the_same_question_of_one_turn_is_asked_once(filled: StoreServer) -> None:
    storage = open_storage(filled.url)
    await storage.connect()
    run = await storage.run_id()
    assert f"run_id:{run}\r\n".encode() in cast("bytes", await asyncio.to_thread(filled.ask, "INFO", "server"))
    before = await asyncio.to_thread(infos, filled)
    assert await asyncio.gather(*(storage.run_id() for _ in range(10))) == [run] * 10
    assert await asyncio.to_thread(infos, filled) == before + 2, "theirs, and that of the count before"
    await storage.disconnect()


NEIGHBOURS = {b"a": b"1", b"south:a": b"1", b"north": b"1", b"south:temp:1:x:a": b"1", b"northern:list": b"1"}


@pytest.mark.backend("valkey")
class TestPrefix(TransactionTests, NeedTests, AdvanceTests, TypeTests, ReadTests, KeysTests, ConvenienceTests):
    """A realm of a database that has other realms, whose keys stay as they are."""

    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
        with StoreServer(tmp_path_factory.mktemp("prefix")) as server:
            yield server

    @pytest.fixture
    def backend(self, server: StoreServer) -> Iterator[Backend]:
        assert server.ask("FLUSHALL") == b"OK"
        for key, value in NEIGHBOURS.items():
            server.ask("SET", key, value)
        yield RedisBackend(f"{server.url}?prefix=north")
        found = cast("list[bytes]", server.ask("KEYS", "*"))
        assert {key for key in found if not key.startswith(b"north:")} == set(NEIGHBOURS)
        assert {key: server.ask("GET", key) for key in NEIGHBOURS} == NEIGHBOURS


@pytest.mark.needs("redis-server")
class TestRedis(StorageContract):
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
        with StoreServer(tmp_path_factory.mktemp("redis"), binary=needed("redis-server")) as server:
            yield server

    @pytest.fixture
    def backend(self, server: StoreServer) -> Backend:
        return emptied(server)
