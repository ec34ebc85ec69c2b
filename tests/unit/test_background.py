"""Tasks that run beside something: each failure is heard, and what has to run runs on."""

import logging

import pytest

from realmkeep.background import FAILURES_MAX, STEADY_S, Background
from realmkeep.testing.clock import FakeClock


class Stumbling:
    """A loop that fails as often as it is told, and counts how often it was started."""

    def __init__(self, clock: FakeClock, failures: int) -> None:
        self._clock = clock
        self._failures = failures
        self.starts = 0

    async def run(self) -> None:
        self.starts += 1
        if self.starts <= self._failures:
            raise ZeroDivisionError
        await self._clock.sleep(1e9)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def background(clock: FakeClock) -> Background:
    return Background("the test", clock)


async def test_a_loop_that_fails_is_told_and_started_again(
    clock: FakeClock, background: Background, caplog: pytest.LogCaptureFixture
) -> None:
    loop = Stumbling(clock, failures=1)
    background.run_forever("looking", loop.run)
    await clock.advance(0.5)
    assert background.degraded == ("a task of the test failed: looking: ZeroDivisionError()",)
    assert "looking; it is started again" in caplog.text
    await clock.advance(1)
    assert loop.starts == 2
    await clock.advance(STEADY_S)
    assert background.degraded == ()
    await background.stop()


async def test_a_loop_that_fails_for_ever_neither_spins_nor_fills_the_log(
    clock: FakeClock, background: Background, caplog: pytest.LogCaptureFixture
) -> None:
    loop = Stumbling(clock, failures=10**9)
    background.run_forever("looking", loop.run)
    await clock.advance(120)
    assert loop.starts == 121
    assert [record.levelno for record in caplog.records] == [logging.CRITICAL] * 3
    assert len(background.degraded) == 1
    await background.stop()


async def test_work_that_fails_stays_told(clock: FakeClock, background: Background) -> None:
    background.run("work", Stumbling(clock, failures=1).run())
    await clock.advance(1000)
    assert background.degraded == ("a task of the test failed: work: ZeroDivisionError()",)


async def test_failures_under_names_of_strangers_are_bounded(clock: FakeClock, background: Background) -> None:
    for number in range(10 * FAILURES_MAX):
        background.run(f"login from {number}", Stumbling(clock, failures=1).run(), lasts_s=5)
    await clock.advance(1)
    assert len(background.degraded) == FAILURES_MAX
    assert background.degraded[-1].startswith(f"a task of the test failed: login from {10 * FAILURES_MAX - 1}: ")
    await clock.advance(5)
    assert background.degraded == ()


async def test_what_ends_well_or_is_cancelled_is_no_failure(clock: FakeClock, background: Background) -> None:
    async def well() -> None:
        pass

    background.run_forever("ends", well)
    background.run("cancelled", Stumbling(clock, failures=0).run()).cancel()
    await background.wait_finished()
    await background.stop()
    assert background.degraded == ()
