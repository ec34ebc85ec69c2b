"""Five hundred password logins beside a game that ticks: none is computed on the thread of the tick."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from realmkeep.accounts.account import Account
from realmkeep.accounts.accounts import Accounts
from realmkeep.accounts.hash_pool import HashPool
from realmkeep.accounts.passwords import Argon2Cost
from realmkeep.accounts.server_keys import init_server_encryption
from realmkeep.config import AuthConfig
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.storage.memory import MemoryStorage

LOGINS = 500
PASSWORD = "four words of mine"
COST = Argon2Cost(1024, 1, 1)


@pytest.fixture
async def accounts(tmp_path: Path) -> Accounts:
    storage = MemoryStorage()
    await storage.connect()
    keys = await asyncio.to_thread(init_server_encryption, tmp_path / "keys.json")
    config = AuthConfig(hash_queue_max=LOGINS, hash_threads=2)
    return Accounts(
        UnownedRecords(Account, storage), storage, config=config, server_name="town-1", keys=keys, cost=COST
    )


async def test_no_login_of_a_storm_is_computed_on_the_thread_that_ticks(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed_on: list[int] = []
    in_the_pool = HashPool.run_call

    def noted(call: Callable[[], Any]) -> Callable[[], Any]:
        def there() -> Any:
            computed_on.append(threading.get_ident())
            return call()

        return there

    async def run(pool: HashPool, call: Callable[[], Any], *, source: str) -> Any:
        return await in_the_pool(pool, noted(call), source=source)

    async def on_the_loop(_pool: HashPool, call: Callable[[], Any], *, source: str) -> Any:
        return noted(call)()

    async def storm() -> set[int]:
        computed_on.clear()
        logins = await asyncio.gather(*(accounts.login(f"user{number}", PASSWORD) for number in range(LOGINS)))
        assert all(login.ticket for login in logins)
        assert len(computed_on) >= LOGINS
        return set(computed_on)

    async with accounts.running():
        await asyncio.gather(*(accounts.create(f"user{number}", PASSWORD) for number in range(LOGINS)))
        monkeypatch.setattr(HashPool, "run_call", run)
        assert threading.get_ident() not in await storm()
        monkeypatch.setattr(HashPool, "run_call", on_the_loop)
        assert await storm() == {threading.get_ident()}, "the control"
