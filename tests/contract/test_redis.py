import asyncio
from collections.abc import Iterator

import pytest

from realmkeep.clock import SystemClock
from realmkeep.storage import Storage, open_storage
from realmkeep.testing.contract import Backend, StorageContract
from realmkeep.testing.servers import StoreServer
from suite.engines import needed


class RedisBackend(Backend):
    opens_twice = True
    histories = 20  # on two engines, and tests/property has more for the script

    def __init__(self, server: StoreServer) -> None:
        super().__init__(SystemClock())
        self._server = server

    def new(self) -> Storage:
        return open_storage(self._server.url, clock=self.clock)

    async def elapse(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def emptied(server: StoreServer) -> Backend:
    assert server.ask("FLUSHALL") == b"OK"
    return RedisBackend(server)


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
