import pytest

from realmkeep.storage import Storage
from realmkeep.storage.memory import MemoryStorage, MemoryStore
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.contract import Backend, StorageContract


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


@pytest.mark.backend("memory")
class TestMemory(StorageContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend()
