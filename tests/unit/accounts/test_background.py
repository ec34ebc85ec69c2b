"""What runs beside the accounts goes on after a failure that nobody foresaw, and says so."""

import asyncio
from typing import Any

import pytest

from realmkeep.accounts.server_keys import ServerKeys
from realmkeep.accounts.throttle_store import ThrottleStore
from realmkeep.background import STEADY_S
from realmkeep.testing.clock import FakeClock


@pytest.mark.parametrize(
    ("owner", "method", "name"),
    [
        (ThrottleStore, "save_failures", "saving failed logins"),
        (ServerKeys, "reload", "reading the sealing keys"),
    ],
)
async def test_a_task_that_fails_is_told_and_goes_on(
    realm: Any, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, owner: type, method: str, name: str
) -> None:
    accounts = await realm.server(throttle_save_interval_s=30)
    calls: list[str] = []
    whole = getattr(owner, method)

    def fails_once(self: Any) -> Any:
        calls.append(method)
        if len(calls) == 1:
            raise OverflowError("a clock past 2106")
        return whole(self)

    monkeypatch.setattr(owner, method, fails_once)
    failed = f"a task of the accounts failed: {name}: OverflowError('a clock past 2106')"
    await _passes(clock, 30, lambda: accounts.degraded == (failed,))
    await _passes(clock, 31, lambda: len(calls) > 1)
    await _passes(clock, STEADY_S, lambda: accounts.degraded == ())


async def _passes(clock: FakeClock, seconds: float, holds: Any) -> None:
    """Time passes; a thread that reads the key file may take a moment of real time."""
    await clock.advance(seconds)
    for _ in range(1000):
        if holds():
            return
        await clock.advance(0.01)
        await _a_thread_has_its_turn()
    assert holds()


async def _a_thread_has_its_turn() -> None:
    await asyncio.to_thread(lambda: None)
