import asyncio

import pytest
from lab import Lab, StallingClock

from realmkeep.realm.server.ticker import Ticker
from realmkeep.testing.clock import FakeClock


async def ticking(ticker: Ticker) -> asyncio.Task[None]:
    task = asyncio.create_task(ticker.run())
    await asyncio.sleep(0)
    return task


async def test_twenty_ticks_a_second_and_none_of_them_late() -> None:
    clock = FakeClock()
    steps: list[float] = []
    ticker = Ticker(lambda: steps.append(clock.monotonic_s()), clock)
    task = await ticking(ticker)
    await clock.advance(3.0)
    assert len(steps) == 60
    assert ticker.lateness_ms(0.99) < 0.001
    task.cancel()


async def test_a_slow_tick_makes_the_next_one_late_and_the_schedule_stays() -> None:
    clock = StallingClock()
    steps: list[float] = []

    def step() -> None:
        steps.append(clock.monotonic_s())
        if len(steps) == 10:
            clock.stall(0.12)

    ticker = Ticker(step, clock)
    task = await ticking(ticker)
    await clock.advance(2.0)
    assert len(steps) == 40, "what was missed is caught up"
    assert 60 < ticker.lateness_ms(1.0) < 80
    task.cancel()


async def test_after_a_long_stop_the_realm_goes_on_from_now() -> None:
    clock = StallingClock()
    steps: list[float] = []

    def step() -> None:
        steps.append(clock.monotonic_s())
        if len(steps) == 10:
            clock.stall(30.0)

    ticker = Ticker(step, clock)
    task = await ticking(ticker)
    await clock.advance(32.0)
    assert len(steps) < 60, "half a minute of ticks is left out"
    task.cancel()


async def test_a_tick_that_fails_is_told_and_the_next_ones_come(
    realm: Lab, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The world would stand still, silently, until somebody ended the server."""
    game, steps = realm.realm.game, list[int]()
    peer = await realm.join(1)

    def step() -> None:
        steps.append(len(steps))
        if len(steps) == 3:
            raise ZeroDivisionError
        realm.realm.simulation.run_tick()

    monkeypatch.setattr(realm.realm.ticker, "_step", step)
    game.background.run_forever("tick", realm.realm.ticker.run)
    await realm.clock.advance(5)
    assert len(steps) > 70
    assert game.degraded == ("a task of the realm failed: tick: ZeroDivisionError()",)
    assert "a task of the realm failed: tick; it is started again" in caplog.text
    assert [event["degraded"] for event in peer.events("warning")] == [True]
    await realm.clock.advance(61)
    assert game.degraded == ()
    assert [event["degraded"] for event in peer.events("warning")] == [True, False]
    await game.background.stop()
