import asyncio
from pathlib import Path

import pytest

from realmkeep.clock import SystemClock
from realmkeep.storage import Storage
from realmkeep.storage.embedded import EmbeddedStorage
from realmkeep.testing.contract import Backend, StorageContract


class EmbeddedBackend(Backend):
    opens_twice = False
    histories = 5  # each starts its store several times; the engine itself has its histories in test_redis.py

    def __init__(self, directory: Path) -> None:
        super().__init__(SystemClock())
        self._directory = directory

    def new(self) -> Storage:
        return EmbeddedStorage(self._directory, clock=self.clock)

    async def elapse(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.mark.backend("embedded")
class TestEmbedded(StorageContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return EmbeddedBackend(tmp_path / "store")
