import asyncio

import pytest

from realmkeep.storage import Append, Committed, Delete, Failed, Guard, Put, Refused, Transaction
from realmkeep.storage.memory import MemoryStorage, MemoryStore
from realmkeep.testing.clock import FakeClock


def do(*effects: Put | Delete | Append) -> Transaction:
    return Transaction((), effects)


async def connected(store: MemoryStore, clock: FakeClock) -> MemoryStorage:
    storage = MemoryStorage(store, clock=clock)
    await storage.connect()
    return storage


@pytest.mark.parametrize("expire_s", [0.001, 0.0014, 0.29, 30.0, 86_400.0])
async def test_a_key_expires_to_the_millisecond(expire_s: float) -> None:
    clock = FakeClock()
    storage = await connected(MemoryStore(clock), clock)
    await storage.write([do(Put("a", b"1", expire_s))])
    rounded_s = round(expire_s, 3)
    await clock.advance(rounded_s - 0.000001)
    assert await storage.load("a") == b"1"
    await clock.advance(0.000001)
    assert await storage.load("a") is None


async def test_setting_the_clock_of_the_machine_expires_nothing() -> None:
    clock = FakeClock()
    storage = await connected(MemoryStore(clock), clock)
    await storage.write([do(Put("lease", b"us", 30))])
    clock.step_wall(10 * 365 * 86_400)
    assert await storage.load("lease") == b"us"


async def test_two_servers_on_one_store_see_each_other_and_one_may_crash() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    first, second = await connected(store, clock), await connected(store, clock)
    claim = Transaction((Guard("owner", None),), (Put("owner", b"first"),))
    assert await first.write([claim]) == [Committed()]
    assert await second.write([claim]) == [Refused(claim.guards[0], b"first")]
    await first.disconnect()
    assert await second.load("owner") == b"first"
    assert isinstance((await first.write([claim]))[0], Failed)


async def test_a_snapshot_is_what_was_there_and_stays_so() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    storage = await connected(store, clock)
    await storage.write([do(Put("a", b"1", 30), Append("l", b"1"))])
    snapshot = store.snapshot()
    await storage.write([do(Put("a", b"2"), Append("l", b"2"), Put("b", b"2"))])
    for _ in range(2):  # restoring does not wear it out
        store.restore(snapshot)
        assert await storage.load("a") == b"1"
        assert await storage.load_list("l") == [b"1"]
        assert not await storage.exists("b")
        await storage.write([do(Append("l", b"3"))])
    await clock.advance(30)
    assert await storage.load("a") is None


async def test_a_write_happens_when_it_starts_and_yields_once() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    storage = await connected(store, clock)
    call = asyncio.create_task(storage.write([do(Put("a", b"1"))]))
    assert store.value("a") is None
    await asyncio.sleep(0)
    assert store.value("a") == b"1"
    assert not call.done()
    assert await call == [Committed()]


async def test_a_list_that_was_read_is_the_callers_own() -> None:
    clock = FakeClock()
    storage = await connected(MemoryStore(clock), clock)
    await storage.write([do(Append("l", b"1"))])
    (await storage.load_list("l")).append(b"2")
    assert await storage.load_list("l") == [b"1"]
