"""The contract of `realmkeep.storage.Storage` as tests: every invariant of its docstring, for any backend.

```text
from realmkeep.testing.contract import Backend, StorageContract

class TestMyStore(StorageContract):
    @pytest.fixture
    def backend(self, tmp_path):
        return MyBackend(tmp_path)      # a subclass of Backend
```

The suite needs pytest, pytest-asyncio and Hypothesis (the extra `realmkeep[testing]`). For readable failures, call
`pytest.register_assert_rewrite("realmkeep.testing.contract")` in the `conftest.py`, before the first import of it.
"""

from realmkeep.testing.contract.advancing import AdvanceTests
from realmkeep.testing.contract.backend import Backend
from realmkeep.testing.contract.history import HistoryTests
from realmkeep.testing.contract.needs import NeedTests
from realmkeep.testing.contract.ordering import CancellationTests, DurabilityTests, LifeTests, OrderTests
from realmkeep.testing.contract.races import RaceTests
from realmkeep.testing.contract.reading import ConvenienceTests, KeysTests, ReadTests
from realmkeep.testing.contract.transactions import TransactionTests
from realmkeep.testing.contract.values import EndTests, ExpiryTests, LimitTests, TypeTests

__all__ = ["Backend", "StorageContract"]


class StorageContract(
    TransactionTests,
    NeedTests,
    AdvanceTests,
    OrderTests,
    RaceTests,
    DurabilityTests,
    CancellationTests,
    LifeTests,
    ExpiryTests,
    EndTests,
    TypeTests,
    LimitTests,
    ReadTests,
    KeysTests,
    ConvenienceTests,
    HistoryTests,
):
    """The whole suite: derive a class named `Test...` and override the fixture `backend`."""
