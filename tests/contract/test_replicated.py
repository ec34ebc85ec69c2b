"""The contract on a primary with replicas: in a cluster, and with sentinels."""

import asyncio
from collections.abc import Iterator
from itertools import count

import pytest

from realmkeep.clock import SystemClock
from realmkeep.storage import Storage, open_storage
from realmkeep.testing.contract import Backend, StorageContract
from realmkeep.testing.contract.history import HistoryTests
from realmkeep.testing.contract.needs import NeedTests
from realmkeep.testing.contract.ordering import CancellationTests, DurabilityTests, LifeTests, OrderTests
from realmkeep.testing.contract.races import RaceTests
from realmkeep.testing.replicated import LocalCluster, LocalSentinels

REALMS = count(1)


class ReplicatedBackend(Backend):
    opens_twice = True
    histories = 3  # the engine itself has its histories in test_redis.py

    def __init__(self, url: str) -> None:
        super().__init__(SystemClock())
        self._url = url

    def new(self) -> Storage:
        return open_storage(self._url, clock=self.clock)

    async def elapse(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.mark.backend("redis-cluster")
class TestCluster(StorageContract):
    """Each test has a realm of its own, on whichever primary has its slot."""

    @pytest.fixture(scope="class")
    @classmethod
    def cluster(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
        with LocalCluster(tmp_path_factory.mktemp("cluster")) as cluster:
            yield cluster

    @pytest.fixture
    def backend(self, cluster: LocalCluster) -> Backend:
        return ReplicatedBackend(cluster.url(f"realm-{next(REALMS)}"))


@pytest.mark.backend("redis-sentinel")
class TestSentinel(OrderTests, RaceTests, DurabilityTests, CancellationTests, LifeTests, NeedTests, HistoryTests):
    """What is written and read is the same code as in a cluster; how its primary is found is not."""

    @pytest.fixture(scope="class")
    @classmethod
    def sentinels(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSentinels]:
        with LocalSentinels(tmp_path_factory.mktemp("sentinels")) as sentinels:
            yield sentinels

    @pytest.fixture
    def backend(self, sentinels: LocalSentinels) -> Backend:
        return ReplicatedBackend(sentinels.url(f"?prefix=realm-{next(REALMS)}"))
