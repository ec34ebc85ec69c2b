import pytest

from realmkeep.storage import Storage
from realmkeep.storage.memory import MemoryStorage, MemoryStore
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.contract import Backend, StorageContract
from realmkeep.testing.faulty import FaultyStorage


class MemoryBackend(Backend):
    opens_twice = True

    def __init__(self) -> None:
        self._fake = FakeClock()
        super().__init__(self._fake)
        self._store = MemoryStore(self._fake)

    def new(self) -> Storage:
        return MemoryStorage(self._store, clock=self.clock)

    async def elapse(self, seconds: float) -> None:
        await self._fake.advance(seconds)


class FaultyBackend(MemoryBackend):
    histories = 10

    def new(self) -> Storage:
        return FaultyStorage(super().new(), clock=self.clock)


@pytest.mark.backend("memory")
class TestMemory(StorageContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend()


@pytest.mark.backend("memory")
class TestFaultlessFaulty(StorageContract):
    """Without faults, the line adds nothing of its own."""

    @pytest.fixture
    def backend(self) -> Backend:
        return FaultyBackend()
