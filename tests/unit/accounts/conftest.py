"""A realm's accounts on a memory store, with password hashes that cost nothing."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from realmkeep.accounts.account import Account
from realmkeep.accounts.accounts import Accounts
from realmkeep.accounts.passwords import Argon2Cost, HashCost
from realmkeep.accounts.server_keys import ServerKeys, init_server_encryption
from realmkeep.config import AuthConfig
from realmkeep.errors import OutcomeUnknown, StorageUnavailable
from realmkeep.keeping.shelf import Shelf
from realmkeep.storage import Failed, Storage, Transaction, Unknown, WriteOutcome
from realmkeep.storage.memory import MemoryStorage, MemoryStore
from realmkeep.testing.clock import FakeClock

CHEAP = Argon2Cost(8, 1, 1)
Opened = Callable[..., "AsyncIterator[Accounts]"]


class Faulty(MemoryStorage):
    """Loses or refuses writes on demand: each entry of `plan` is what becomes of one call."""

    def __init__(self, store: MemoryStore, clock: FakeClock) -> None:
        super().__init__(store, clock=clock)
        self.plan: list[str] = []
        self.written: list[Transaction] = []

    async def write(self, transactions: Sequence[Transaction]) -> list[WriteOutcome]:
        fate = self.plan.pop(0) if self.plan else "works"
        self.written += transactions
        match fate:
            case "refused before":
                return [Failed(StorageUnavailable("away")) for _ in transactions]
            case "lost before":
                return [Unknown(OutcomeUnknown("lost")) for _ in transactions]
            case "lost after":
                await super().write(transactions)
                return [Unknown(OutcomeUnknown("lost")) for _ in transactions]
            case _:
                return await super().write(transactions)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
async def storage(store: MemoryStore, clock: FakeClock) -> Faulty:
    storage = Faulty(store, clock)
    await storage.connect()
    return storage


@pytest.fixture(scope="session")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("accounts") / "server-keys.json"
    init_server_encryption(path)
    return path


@pytest.fixture
def keys(key_file: Path, clock: FakeClock) -> ServerKeys:
    return init_server_encryption(key_file, clock=clock)


class Realm:
    """Starts servers on the store of a test, and stops them after it."""

    def __init__(self, storage: Storage, keys: ServerKeys, clock: FakeClock, stack: AsyncExitStack) -> None:
        self._storage = storage
        self._keys = keys
        self._clock = clock
        self._stack = stack

    async def server(
        self, name: str = "town-1", *, cost: HashCost = CHEAP, storage: Storage | None = None, **settings: object
    ) -> Accounts:
        storage = storage or self._storage
        config = AuthConfig(**{"answer_time_s": 0, **settings})  # pyright: ignore[reportArgumentType] - the test names them
        accounts = Accounts(
            Shelf(Account, storage, clock=self._clock),
            storage,
            config=config,
            server_name=name,
            realm_name="Realm of Ash",
            keys=self._keys,
            cost=cost,
            clock=self._clock,
        )
        return await self._stack.enter_async_context(accounts.running())


@pytest.fixture
async def realm(storage: Faulty, keys: ServerKeys, clock: FakeClock) -> AsyncIterator[Realm]:
    async with AsyncExitStack() as stack:
        yield Realm(storage, keys, clock, stack)


@pytest.fixture
async def accounts(realm: Realm) -> Accounts:
    return await realm.server()
