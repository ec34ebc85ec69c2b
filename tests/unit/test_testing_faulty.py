import asyncio

import pytest

from realmkeep.errors import OutcomeUnknown, StorageFull, StorageUnavailable, ValueTooLarge
from realmkeep.storage import (
    Append,
    Committed,
    Failed,
    Guard,
    Put,
    Refused,
    Transaction,
    Unknown,
    WriteOutcome,
)
from realmkeep.storage.memory import MemoryStorage, MemoryStore
from realmkeep.storage.protocol import VALUE_BYTES_MAX
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import (
    LOSE_REPLY,
    LOSE_REQUEST,
    FaultyStorage,
    cut,
    delay,
    duplicate,
    late,
    reject,
    seeded_faults,
)


class Line:
    """A faulty store, the store behind it, and their clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.faulty = FaultyStorage(MemoryStorage(self.store, clock=self.clock), clock=self.clock, store=self.store)

    async def write(self, *transactions: Transaction) -> list[WriteOutcome]:
        return await self.clock.finish(self.faulty.write(transactions))


@pytest.fixture
async def line() -> Line:
    line = Line()
    await line.faulty.connect()
    return line


def log(entry: bytes) -> Transaction:
    return Transaction((), (Append("log", entry),))


async def test_without_faults_it_is_the_inner_store(line: Line) -> None:
    assert await line.write(log(b"1"), log(b"2")) == [Committed(), Committed()]
    assert line.store.entries("log") == [b"1", b"2"]
    assert line.faulty.calls == {"write": 1}


async def test_a_rejected_call_changes_nothing_and_says_so(line: Line) -> None:
    full = StorageFull("full")
    line.faulty.script("write", reject(), reject(full))
    (first,), (second,) = await line.write(log(b"1")), await line.write(log(b"2"))
    assert isinstance(first, Failed)
    assert isinstance(first.error, StorageUnavailable)
    assert second == Failed(full)
    assert await line.write(log(b"3")) == [Committed()]
    assert line.store.entries("log") == [b"3"]


@pytest.mark.parametrize(("fault", "applied"), [(LOSE_REQUEST, False), (LOSE_REPLY, True)])
async def test_a_lost_request_and_a_lost_reply_look_alike(line: Line, fault: object, *, applied: bool) -> None:
    line.faulty.script("write", LOSE_REPLY if applied else LOSE_REQUEST)
    line.faulty.script("increment", LOSE_REPLY if applied else LOSE_REQUEST)
    (outcome,) = await line.write(log(b"1"))
    assert isinstance(outcome, Unknown)
    assert isinstance(outcome.error, OutcomeUnknown)
    with pytest.raises(OutcomeUnknown):
        await line.faulty.increment("n")
    assert line.store.entries("log") == ([b"1"] if applied else [])
    assert line.store.value("n") == (b"1" if applied else None)


async def test_a_cut_lets_part_of_a_batch_and_fewer_outcomes_through(line: Line) -> None:
    line.faulty.script("write", cut(reaches=3, answered=2))
    outcomes = await line.write(*(log(b"%d" % n) for n in range(5)))
    assert [type(outcome) for outcome in outcomes] == [Committed, Committed, Unknown, Unknown, Unknown]
    assert line.store.entries("log") == [b"0", b"1", b"2"]


async def test_a_late_request_arrives_when_nobody_waits_for_it(line: Line) -> None:
    line.faulty.script("write", late(10))
    (outcome,) = await line.write(log(b"late"))
    assert isinstance(outcome, Unknown)
    await line.write(log(b"early"))
    await line.clock.advance(9)
    assert line.store.entries("log") == [b"early"]
    await line.clock.advance(1)
    assert line.store.entries("log") == [b"early", b"late"]
    assert line.faulty.late_results == [[Committed()]]


async def test_a_late_duplicate_of_a_guarded_write_is_refused(line: Line) -> None:
    line.faulty.script("write", duplicate(10))
    guarded = Transaction((Guard("revision", None),), (Put("revision", b"1"), Append("log", b"x")))
    await line.write(guarded)
    await line.write(log(b"y"))
    await line.clock.advance(10)
    assert line.store.entries("log") == [b"x", b"y"]
    assert line.faulty.late_results == [[Refused(guarded.guards[0], b"1")]]


async def test_control_a_late_duplicate_of_an_unguarded_write_happens_twice(line: Line) -> None:
    line.faulty.script("write", duplicate(10))
    await line.write(log(b"x"))
    await line.clock.advance(10)
    assert line.store.entries("log") == [b"x", b"x"]


async def test_delays_keep_the_order_of_calls(line: Line) -> None:
    line.faulty.script("write", delay(5, 100), delay(0), delay(1))
    calls = [asyncio.create_task(line.faulty.write([log(b"%d" % n)])) for n in range(3)]
    await line.clock.advance(5.5)
    assert line.store.entries("log") == [b"0", b"1"]
    assert [call.done() for call in calls] == [False, True, False]
    await line.clock.advance(94.4)
    assert [call.done() for call in calls] == [False, True, True]
    await line.clock.advance(5.1)
    assert all(call.result() == [Committed()] for call in calls)


async def test_a_cancelled_caller_takes_nothing_back(line: Line) -> None:
    line.faulty.script("write", delay(5))
    call = asyncio.create_task(line.faulty.write([log(b"1"), log(b"2")]))
    await line.clock.advance(1)
    call.cancel()
    await line.clock.advance(10)
    assert call.cancelled()
    assert line.store.entries("log") == [b"1", b"2"]


async def test_while_it_is_down_new_calls_are_refused_and_what_is_on_its_way_is_lost(line: Line) -> None:
    line.faulty.script("write", delay(5), delay(0, 5))
    going = asyncio.create_task(line.faulty.write([log(b"going")]))
    await line.clock.advance(1)
    line.faulty.down = True
    (refused,) = await line.write(log(b"new"))
    assert isinstance(refused, Failed)
    for call in (line.faulty.load("a"), line.faulty.increment("n"), line.faulty.flush(), line.faulty.connect()):
        with pytest.raises(StorageUnavailable):
            await call
    await line.clock.advance(10)
    assert [type(outcome) for outcome in going.result()] == [Unknown]
    assert line.store.live_keys() == []
    line.faulty.down = False
    assert await line.write(log(b"after")) == [Committed()]


async def test_a_crash_takes_back_what_was_not_remembered(line: Line) -> None:
    await line.write(log(b"1"), Transaction((), (Put("lease", b"us", expire_s=30),)))
    line.faulty.remember()
    await line.write(log(b"2"), Transaction((), (Put("lease", b"them"),)))
    line.faulty.crash()
    line.faulty.down = False
    assert line.store.entries("log") == [b"1"]
    assert await line.faulty.load("lease") == b"us"
    await line.clock.advance(30)
    assert await line.faulty.load("lease") is None


async def test_reads_that_are_lost_are_unavailable(line: Line) -> None:
    line.faulty.script("load", LOSE_REPLY)
    line.faulty.script("keys", LOSE_REQUEST)
    line.faulty.script("flush", LOSE_REPLY)
    with pytest.raises(StorageUnavailable):
        await line.faulty.load("a")
    with pytest.raises(StorageUnavailable):
        [key async for key in line.faulty.keys("a*")]
    with pytest.raises(StorageUnavailable):
        await line.faulty.flush()


async def test_limits_hold_before_any_fault(line: Line) -> None:
    line.faulty.script("write", LOSE_REQUEST)
    with pytest.raises(ValueTooLarge):
        await line.faulty.write([Transaction((), (Put("a", bytes(VALUE_BYTES_MAX + 1)),))])


async def test_a_store_without_history_cannot_crash() -> None:
    clock = FakeClock()
    faulty = FaultyStorage(MemoryStorage(clock=clock), clock=clock)
    with pytest.raises(TypeError, match="store"):
        faulty.crash()
    assert not faulty.down


async def history(seed: int) -> tuple[list[list[type]], list[bytes], list[object]]:
    line = Line()
    await line.faulty.connect()
    line.faulty.plan = seeded_faults(seed, rate=0.5)
    calls = [asyncio.create_task(line.faulty.write([log(b"%d.%d" % (n, m)) for m in range(3)])) for n in range(50)]
    await line.clock.advance(60)
    return (
        [[type(each) for each in call.result()] for call in calls],
        line.store.entries("log"),
        line.faulty.late_results,
    )


async def test_the_same_seed_gives_the_same_history_and_another_another() -> None:
    first, again, other = await history(1), await history(1), await history(2)
    assert first == again
    assert first != other
    outcomes = {kind for batch in first[0] for kind in batch}
    assert outcomes == {Committed, Failed, Unknown}
