import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from realmkeep.clock import SystemClock
from realmkeep.storage import Storage, open_storage
from realmkeep.testing.contract import Backend, StorageContract
from realmkeep.testing.servers import StoreServer

DEBIAN_REDIS = Path("/usr/bin/redis-server")


class RedisBackend(Backend):
    opens_twice = True

    def __init__(self, server: StoreServer) -> None:
        super().__init__(SystemClock())
        self._server = server

    def new(self) -> Storage:
        return open_storage(self._server.url, clock=self.clock)

    async def elapse(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def serve(directory: Path, binary: Path | None) -> Iterator[StoreServer]:
    server = StoreServer(directory, binary=binary)
    server.start()
    yield server
    server.close()


def emptied(server: StoreServer) -> Backend:
    assert server.ask("FLUSHALL") == b"OK"
    return RedisBackend(server)


@pytest.mark.backend("valkey")
class TestValkey(StorageContract):
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
        yield from serve(tmp_path_factory.mktemp("valkey"), None)

    @pytest.fixture
    def backend(self, server: StoreServer) -> Backend:
        return emptied(server)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StoreServer]:
    yield from serve(tmp_path, None)


async def test_a_snapshot_makes_the_store_write_its_file(server: StoreServer) -> None:
    storage = open_storage(server.url)
    await storage.connect()
    await storage.increment("number")
    await storage.snapshot()
    await storage.disconnect()
    while b"rdb_bgsave_in_progress:0" not in (info := await asyncio.to_thread(server.ask, "INFO", "persistence")):
        await asyncio.sleep(0)
    assert b"rdb_last_bgsave_status:ok" in info
    assert b"rdb_saves:1" in info


@pytest.mark.backend("redis-7.0")
class TestDebianRedis(StorageContract):
    @pytest.fixture(scope="class")
    @classmethod
    def server(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
        yield from serve(tmp_path_factory.mktemp("redis"), DEBIAN_REDIS)

    @pytest.fixture
    def backend(self, server: StoreServer) -> Backend:
        return emptied(server)
