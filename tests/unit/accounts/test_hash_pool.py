import asyncio
import threading
from collections.abc import AsyncIterator, Callable

import pytest

from realmkeep.accounts.hash_pool import HashPool
from realmkeep.clock import SystemClock
from realmkeep.errors import AuthFailed


class Gate:
    """Calls that wait on their thread until the test lets them go, and the order in which they ran."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.ran: list[str] = []

    def call(self, name: str) -> Callable[[], str]:
        def run() -> str:
            self.opened.wait()
            self.ran.append(name)
            return name

        return run


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def pool(gate: Gate) -> AsyncIterator[HashPool]:
    pool = HashPool(threads=1, queue_max=4, clock=SystemClock())
    yield pool
    gate.opened.set()
    await pool.close()


async def started(pool: HashPool, gate: Gate, *names: str) -> list[asyncio.Task[str]]:
    """One task for each `source/n`, queued in that order."""
    tasks: list[asyncio.Task[str]] = []
    for name in names:
        tasks.append(asyncio.create_task(pool.run_call(gate.call(name), source=name.partition("/")[0])))
        await asyncio.sleep(0)
    return tasks


async def test_it_returns_what_the_call_returns_and_raises_what_it_raises(pool: HashPool) -> None:
    def fail() -> None:
        raise RuntimeError("of the call")

    assert await pool.run_call(lambda: 6 * 7, source="a") == 42
    with pytest.raises(RuntimeError, match="of the call"):
        await pool.run_call(fail, source="a")
    assert await pool.run_call(threading.get_ident, source="a") != threading.get_ident()


async def test_sources_take_turns(pool: HashPool, gate: Gate) -> None:
    tasks = await started(pool, gate, "a/0", "a/1", "a/2", "b/1", "c/1")
    gate.opened.set()
    await asyncio.gather(*tasks)
    assert gate.ran == ["a/0", "a/1", "b/1", "c/1", "a/2"]


async def test_a_full_queue_refuses_with_a_time(pool: HashPool, gate: Gate) -> None:
    tasks = await started(pool, gate, "a/0", "a/1", "a/2", "a/3", "a/4")
    assert pool.waiting == 4
    with pytest.raises(AuthFailed) as caught:
        await pool.run_call(gate.call("a/5"), source="a")
    assert caught.value.reason == "throttled"
    assert caught.value.retry_after_s >= 1
    gate.opened.set()
    assert len(await asyncio.gather(*tasks)) == 5


async def test_in_a_full_queue_the_greediest_source_makes_room(pool: HashPool, gate: Gate) -> None:
    tasks = await started(pool, gate, "a/0", "a/1", "a/2", "a/3", "a/4")
    tasks += await started(pool, gate, "b/1", "b/2")
    gate.opened.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    throttled = [task for task, result in zip("01234", results, strict=False) if isinstance(result, AuthFailed)]
    assert throttled == ["3", "4"]
    assert gate.ran == ["a/0", "a/1", "b/1", "a/2", "b/2"]


async def test_a_source_with_as_much_as_the_others_does_not_push_them_out(pool: HashPool, gate: Gate) -> None:
    tasks = await started(pool, gate, "a/0", "a/1", "a/2", "b/1", "b/2")
    with pytest.raises(AuthFailed):
        await pool.run_call(gate.call("b/3"), source="b")
    gate.opened.set()
    assert len(await asyncio.gather(*tasks)) == 5


async def test_at_most_so_many_run_at_once(gate: Gate) -> None:
    pool = HashPool(threads=3, queue_max=100, clock=SystemClock())
    running = 0
    most = 0
    lock = threading.Lock()
    three = threading.Barrier(3)  # none goes on alone

    def call() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        three.wait(60)
        with lock:
            running -= 1

    await asyncio.gather(*(pool.run_call(call, source=str(n % 5)) for n in range(60)))
    assert most == 3
    await pool.close()


async def test_whoever_stops_waiting_leaves_the_queue(pool: HashPool, gate: Gate) -> None:
    tasks = await started(pool, gate, "a/0", "a/1", "a/2")
    tasks[1].cancel()
    await asyncio.wait([tasks[1]])
    assert pool.waiting == 1
    tasks[0].cancel()  # it runs already: its thread is not free before it is done
    await asyncio.wait([tasks[0]])
    assert pool.waiting == 1
    gate.opened.set()
    assert await tasks[2] == "a/2"
    assert gate.ran == ["a/0", "a/2"]


async def test_closing_refuses_what_waits_and_finishes_what_runs(gate: Gate) -> None:
    pool = HashPool(threads=1, queue_max=4, clock=SystemClock())
    running, waiting = await started(pool, gate, "a/0", "a/1")
    closing = asyncio.create_task(pool.close())
    with pytest.raises(AuthFailed):
        await waiting
    gate.opened.set()
    await closing
    assert await running == "a/0"
    assert gate.ran == ["a/0"]
