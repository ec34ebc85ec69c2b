"""Five hundred password logins beside a game that ticks twenty times a second."""

import asyncio
import gc
import threading
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


async def longest_hold_s(storm: Callable[[], Awaitable[object]]) -> float:
    """The most processor time of the loop's thread between two ticks during the storm: what makes a tick late by itself.

    Processor time, because a machine that is busy with something else makes every tick late by the clock.
    """
    longest_s = 0.0
    over = asyncio.Event()

    async def tick() -> None:
        nonlocal longest_s
        before_s = time.thread_time()
        while not over.is_set():
            await asyncio.sleep(TICK_S)
            now_s = time.thread_time()
            longest_s, before_s = max(longest_s, now_s - before_s), now_s

    gc.disable()  # a full collection of a process that has run thousands of tests takes longer than all these logins
    try:
        ticking = asyncio.create_task(tick())
        await asyncio.sleep(0)
        await storm()
        over.set()
        await ticking
    finally:
        gc.enable()
    return longest_s


@pytest.fixture
async def accounts(tmp_path: Path) -> Accounts:
    storage = MemoryStorage()
    await storage.connect()
    keys = await asyncio.to_thread(init_server_encryption, tmp_path / "keys.json")
    config = AuthConfig(hash_queue_max=LOGINS, hash_threads=2)
    return Accounts(Shelf(Account, storage), storage, config=config, server_name="town-1", keys=keys, cost=COST)


async def test_no_login_of_a_storm_is_computed_on_the_thread_that_ticks(
    accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed_on: list[int] = []
    in_the_pool = HashPool.run

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
        monkeypatch.setattr(HashPool, "run", run)
        assert threading.get_ident() not in await storm()
        monkeypatch.setattr(HashPool, "run", on_the_loop)
        assert await storm() == {threading.get_ident()}, "the control"


async def test_the_tick_does_not_notice_a_storm_of_logins(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    async with accounts.running():
        await asyncio.gather(*(accounts.create(f"user{number}", PASSWORD) for number in range(LOGINS)))

        async def storm() -> None:
            logins = await asyncio.gather(*(accounts.login(f"user{number}", PASSWORD) for number in range(LOGINS)))
            assert all(login.ticket for login in logins)

        beside_the_pool_s = await longest_hold_s(storm)

        async def on_the_loop(_pool: HashPool, call: Callable[[], Any], *, source: str) -> Any:
            return call()

        monkeypatch.setattr(HashPool, "run", on_the_loop)
        on_the_loop_s = await longest_hold_s(storm)
    assert beside_the_pool_s < on_the_loop_s / 3
