import asyncio

import pytest

from realmkeep.clock import Clock
from realmkeep.testing.clock import FakeClock


def test_the_fake_clock_is_a_clock() -> None:
    def read(clock: Clock) -> int:
        return clock.wall_us()

    assert read(FakeClock(wall_us=5)) == 5


async def test_nothing_passes_unless_advanced() -> None:
    clock = FakeClock()
    before = (clock.wall_us(), clock.monotonic_s())
    await clock.settle()
    assert (clock.wall_us(), clock.monotonic_s()) == before


async def test_ten_tenths_are_one_second_exactly() -> None:
    clock = FakeClock(wall_us=0)
    start = clock.monotonic_s()
    for _ in range(10):
        await clock.advance(0.1)
    assert (clock.wall_us(), clock.monotonic_s() - start) == (1_000_000, 1.0)


async def test_timers_fire_in_order_of_deadline_then_of_creation() -> None:
    clock = FakeClock(wall_us=0)
    fired: list[tuple[str, int]] = []
    for name, delay_s in (("late", 3.0), ("early", 1.0), ("twin", 1.0), ("never", 3.1)):
        clock.call_later(delay_s, lambda name=name: fired.append((name, clock.wall_us())))
    await clock.advance(3.0)
    assert fired == [("early", 1_000_000), ("twin", 1_000_000), ("late", 3_000_000)]
    assert clock.next_timer_s() == pytest.approx(0.1)


async def test_the_loop_settles_between_two_timers() -> None:
    clock = FakeClock(wall_us=0)
    seen: list[int] = []

    async def three_naps() -> None:
        for _ in range(3):
            await clock.sleep(1)
            for _ in range(50):
                await asyncio.sleep(0)
            seen.append(clock.wall_us())

    task = asyncio.create_task(three_naps())
    await clock.advance(10)
    assert seen == [1_000_000, 2_000_000, 3_000_000]
    assert task.done()


async def test_a_cancelled_timer_does_not_fire() -> None:
    clock = FakeClock()
    fired: list[str] = []
    clock.call_later(1, lambda: fired.append("cancelled")).cancel()
    clock.call_later(2, lambda: fired.append("kept"))
    await clock.advance(5)
    assert fired == ["kept"]
    assert clock.next_timer_s() is None


async def test_a_timeout_cancels_its_block_when_time_is_up_and_only_then() -> None:
    clock = FakeClock()
    reached: list[str] = []

    async def slow() -> None:
        async with clock.timeout(5):
            reached.append("in")
            await clock.sleep(6)
            reached.append("past")

    async def quick() -> None:
        async with clock.timeout(5):
            await clock.sleep(4)
        reached.append("quick")

    tasks = [asyncio.create_task(slow()), asyncio.create_task(quick())]
    await clock.advance(4.9)
    assert [task.done() for task in tasks] == [False, True]
    await clock.advance(0.1)
    with pytest.raises(TimeoutError):
        tasks[0].result()
    assert reached == ["in", "quick"]
    assert clock.next_timer_s() is None


async def test_a_cancellation_from_outside_is_no_timeout() -> None:
    clock = FakeClock()

    async def waiting() -> None:
        async with clock.timeout(5):
            await clock.sleep(100)

    task = asyncio.create_task(waiting())
    await clock.settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_stepping_the_wall_leaves_timers_alone() -> None:
    clock = FakeClock(wall_us=10_000_000)
    fired: list[int] = []
    clock.call_later(2, lambda: fired.append(clock.wall_us()))
    clock.step_wall(-5)
    await clock.advance(2)
    assert fired == [7_000_000]


async def test_finish_jumps_to_the_end_of_an_awaitable() -> None:
    clock = FakeClock(wall_us=0)

    async def slow() -> str:
        await clock.sleep(100)
        await clock.sleep(200)
        return "done"

    assert await clock.finish(slow()) == "done"
    assert clock.wall_us() == 300_000_000


async def test_finish_gives_up_on_what_no_timer_brings_about() -> None:
    clock = FakeClock()
    never = asyncio.get_running_loop().create_future()
    with pytest.raises(TimeoutError):
        await clock.finish(never)
    assert never.cancelled()


async def test_finish_gives_up_after_its_time() -> None:
    clock = FakeClock(wall_us=0)
    with pytest.raises(TimeoutError):
        await clock.finish(clock.sleep(11), within_s=10)
    assert clock.wall_us() <= 10_000_000


async def test_what_a_timer_raises_reaches_the_test() -> None:
    clock = FakeClock()
    clock.call_later(1, lambda: int("no number"))
    with pytest.raises(ValueError, match="no number"):
        await clock.advance(1)


async def test_a_spinning_task_is_reported() -> None:
    clock = FakeClock()

    async def spin() -> None:
        while True:
            await clock.sleep(0)

    task = asyncio.create_task(spin())
    with pytest.raises(RuntimeError, match="spins"):
        await clock.advance(1)
    task.cancel()
