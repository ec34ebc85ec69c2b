from pathlib import Path

import pytest

from realmkeep.storage import Storage, open_storage
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.contract import Backend, StorageContract


class SqliteBackend(Backend):
    opens_twice = False

    def __init__(self, path: Path) -> None:
        self._fake = FakeClock()
        super().__init__(self._fake)
        self._url = f"sqlite:///{path}"

    def new(self) -> Storage:
        return open_storage(self._url, clock=self.clock)

    async def elapse(self, seconds: float) -> None:
        await self._fake.advance(seconds)


@pytest.mark.backend("sqlite")
class TestSqlite(StorageContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return SqliteBackend(tmp_path / "realm.db")
