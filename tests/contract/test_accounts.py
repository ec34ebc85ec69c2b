"""Registration on every backend: one account for one name, and never half of one."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from realmkeep.accounts.account import Account
from realmkeep.accounts.accounts import Accounts
from realmkeep.accounts.login import Login
from realmkeep.accounts.passwords import Argon2Cost
from realmkeep.accounts.sealed_payloads import encrypt_auth_payload
from realmkeep.accounts.server_keys import ServerKeys, init_server_encryption
from realmkeep.clock import Clock
from realmkeep.config import AuthConfig
from realmkeep.errors import AlreadyExists, AuthFailed
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.records.fields import durable
from realmkeep.records.record import Record
from realmkeep.storage import Storage, open_storage
from realmkeep.storage.embedded import EmbeddedStorage
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.servers import StoreServer

PASSWORD = "four words of mine"
BACKENDS = [
    pytest.param(name, marks=pytest.mark.backend(name))
    for name in ("memory", "sqlite", "valkey", "postgresql", "embedded")
]


class Hero(Record, kind="hero-of-contract", version=1):
    name: str = durable()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with StoreServer(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(params=BACKENDS)
async def storage(
    request: pytest.FixtureRequest, tmp_path: Path, server: StoreServer, postgres_url: str
) -> AsyncIterator[Storage]:
    match request.param:
        case "sqlite":
            storage = open_storage(f"sqlite:///{tmp_path}/realm.db")
        case "valkey":
            assert await asyncio.to_thread(server.ask, "FLUSHALL") == b"OK"
            storage = open_storage(server.url)
        case "postgresql":
            storage = open_storage(postgres_url)
        case "embedded":
            storage = EmbeddedStorage(tmp_path / "store")
        case _:
            storage = open_storage("memory://")
    await storage.connect()
    yield storage
    await storage.disconnect()


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> ServerKeys:
    return init_server_encryption(tmp_path_factory.mktemp("keys") / "keys.json")


def two_servers(storage: Storage, keys: ServerKeys, clock: Clock | None = None) -> list[Accounts]:
    return [
        Accounts(
            UnownedRecords(Account, storage),
            storage,
            config=AuthConfig(answer_time_s=0),
            server_name=name,
            keys=keys,
            cost=Argon2Cost(8, 1, 1),
            clock=clock,
        )
        for name in ("town-1", "town-2")
    ]


async def test_of_two_concurrent_registrations_of_one_name_one_happens(storage: Storage, keys: ServerKeys) -> None:
    first, second = two_servers(storage, keys)
    async with first.running(), second.running():
        for turn in range(5):
            results = await asyncio.gather(
                *(
                    each.create(f"ada{turn}", f"{PASSWORD} {n}", character=(f"{turn}-{n}", Hero(name="Ada")))
                    for n, each in enumerate([first, second, first, second])
                ),
                return_exceptions=True,
            )
            (winner,) = [each for each in results if isinstance(each, Login)]
            assert [each.reason for each in results if isinstance(each, AuthFailed)] == ["username_taken"] * 3
            heroes = [n for n in range(4) if await storage.exists(f"hero-of-contract:{turn}-{n}")]
            assert [winner.character_id] == [f"{turn}-{n}" for n in heroes]
            assert (await second.login_with_ticket(winner.ticket)).character_id == winner.character_id
            await first.login(f"ada{turn}", f"{PASSWORD} {heroes[0]}")


async def test_an_account_and_its_character_come_together_or_not_at_all(storage: Storage, keys: ServerKeys) -> None:
    accounts, _ = two_servers(storage, keys)
    async with accounts.running():
        await accounts.create("ada", PASSWORD, character=(1, Hero(name="Ada")))
        with pytest.raises(AlreadyExists):
            await accounts.create("bea", PASSWORD, character=(1, Hero(name="Bea")))
        assert not await accounts.exists("bea")


async def test_a_sealed_payload_is_accepted_once_by_all_servers_together(storage: Storage, keys: ServerKeys) -> None:
    payload = encrypt_auth_payload({"username": "ada", "password": PASSWORD}, keys.public_key).payload
    servers = two_servers(storage, keys) * 3
    results = await asyncio.gather(*(each.open_sealed(payload) for each in servers), return_exceptions=True)
    assert [type(each).__name__ for each in results].count("tuple") == 1
    assert [each.reason for each in results if isinstance(each, AuthFailed)] == ["replayed"] * 5


async def test_failures_survive_a_restart(storage: Storage, keys: ServerKeys) -> None:
    clock = FakeClock()  # on a slow machine the delay would be over before the restart is
    before, _ = two_servers(storage, keys, clock)
    async with before.running():
        for _ in range(12):
            with pytest.raises(AuthFailed):
                await before.login("nobody", PASSWORD)
    after, _ = two_servers(storage, keys, clock)
    async with after.running():
        with pytest.raises(AuthFailed) as caught:
            await after.login("nobody", PASSWORD)
    assert caught.value.reason == "throttled"
