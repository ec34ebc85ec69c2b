"""Five hundred password logins beside a game that ticks twenty times a second."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from realmkeep.accounts.account import Account
from realmkeep.accounts.accounts import Accounts
from realmkeep.accounts.passwords import Argon2Cost
from realmkeep.accounts.pool import HashPool
from realmkeep.accounts.server_keys import init_server_encryption
from realmkeep.config import AuthConfig
from realmkeep.keeping.shelf import Shelf
from realmkeep.storage.memory import MemoryStorage

TICK_S = 0.05
LOGINS = 500
PASSWORD = "four words of mine"
COST = Argon2Cost(1024, 1, 1)  # about 1 ms: long enough to be felt, short enough for a test


async def worst_lateness_s(storm: Callable[[], Awaitable[None]]) -> float:
    """How late the latest of the ticks was that were due while the storm went on."""
    latest_s = 0.0
    over = asyncio.Event()

    async def tick() -> None:
        nonlocal latest_s
        due_s = time.monotonic()
        while not over.is_set():
            due_s += TICK_S
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            latest_s = max(latest_s, time.monotonic() - due_s)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0)
    await storm()
    over.set()
    await ticking
    return latest_s


@pytest.fixture
async def accounts(tmp_path: Path) -> Accounts:
    storage = MemoryStorage()
    await storage.connect()
    keys = await asyncio.to_thread(init_server_encryption, tmp_path / "keys.json")
    config = AuthConfig(hash_queue_max=LOGINS, hash_threads=2)
    return Accounts(Shelf(Account, storage), storage, config=config, server_name="town-1", keys=keys, cost=COST)


async def test_the_tick_does_not_notice_a_storm_of_logins(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    async with accounts.running():
        await asyncio.gather(*(accounts.create(f"user{number}", PASSWORD) for number in range(LOGINS)))

        async def storm() -> None:
            logins = await asyncio.gather(*(accounts.login(f"user{number}", PASSWORD) for number in range(LOGINS)))
            assert all(login.ticket for login in logins)

        beside_the_pool_s = await worst_lateness_s(storm)

        async def on_the_loop(_pool: HashPool, call: Callable[[], Any], *, source: str) -> Any:
            return call()

        monkeypatch.setattr(HashPool, "run", on_the_loop)
        on_the_loop_s = await worst_lateness_s(storm)
    assert beside_the_pool_s < on_the_loop_s / 3
