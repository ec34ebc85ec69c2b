import asyncio
import time

import pytest

from realmkeep.clock import Clock, SystemClock


@pytest.fixture
def clock() -> Clock:
    return SystemClock()


def test_wall_time_is_the_machines_in_microseconds(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_732_371_000_123_456_789)
    assert clock.wall_us() == 1_732_371_000_123_456


def test_monotonic_time_is_the_machines_in_seconds(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 12.5)
    assert clock.monotonic_s() == 12.5


async def test_sleeping_for_nothing_yields_to_the_loop_once(clock: Clock) -> None:
    turns: list[str] = []

    async def other() -> None:
        turns.append("other")

    task = asyncio.create_task(other())
    await clock.sleep(0)
    turns.append("sleeper")
    await task
    assert turns == ["other", "sleeper"]


async def test_shorter_sleeps_end_first(clock: Clock) -> None:
    ended: list[float] = []

    async def sleep(delay_s: float) -> None:
        await clock.sleep(delay_s)
        ended.append(delay_s)

    await asyncio.gather(sleep(0.02), sleep(0.001))
    assert ended == [0.001, 0.02]


async def test_a_call_runs_later_and_never_at_once(clock: Clock) -> None:
    done = asyncio.Event()
    clock.call_later(0, done.set)
    assert not done.is_set()
    await done.wait()


async def test_a_cancelled_call_does_not_run(clock: Clock) -> None:
    calls: list[str] = []
    done = asyncio.Event()
    clock.call_later(0.001, lambda: calls.append("cancelled")).cancel()
    timer = clock.call_later(0.002, done.set)
    await done.wait()
    timer.cancel()  # harmless after it ran
    assert calls == []


async def test_a_block_that_takes_too_long_is_a_timeout(clock: Clock) -> None:
    too_late = asyncio.Event()
    timer = asyncio.get_running_loop().call_later(5, too_late.set)
    with pytest.raises(TimeoutError):
        async with clock.timeout(0.001):
            await too_late.wait()
    timer.cancel()


async def test_a_block_in_time_is_left_alone(clock: Clock) -> None:
    async with clock.timeout(3600):
        await clock.sleep(0)
