"""A realm's accounts on a memory store, with password hashes that cost nothing."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from realmkeep.accounts.account import Account
from realmkeep.accounts.accounts import Accounts
from realmkeep.accounts.passwords import Argon2Cost, HashCost
from realmkeep.accounts.server_keys import ServerKeys, init_server_encryption
from realmkeep.config import AuthConfig
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.storage import Storage
from realmkeep.storage.memory import MemoryStorage, MemoryStore
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import FaultyStorage

CHEAP = Argon2Cost(8, 1, 1)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
async def storage(store: MemoryStore, clock: FakeClock) -> FaultyStorage:
    storage = FaultyStorage(MemoryStorage(store, clock=clock), clock=clock, store=store)
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
            UnownedRecords(Account, storage, clock=self._clock),
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
async def realm(storage: FaultyStorage, keys: ServerKeys, clock: FakeClock) -> AsyncIterator[Realm]:
    async with AsyncExitStack() as stack:
        yield Realm(storage, keys, clock, stack)


@pytest.fixture
async def accounts(realm: Realm) -> Accounts:
    return await realm.server()
