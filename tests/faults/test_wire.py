"""What a network does between a request and its reply: nothing is torn, and with guards nothing happens twice."""

import asyncio
from collections.abc import Sequence

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from realmkeep.errors import OutcomeUnknown, StorageError, StorageUnavailable
from realmkeep.storage import Append, Committed, Guard, Put, Refused, Storage, Transaction, Unknown, open_storage
from realmkeep.testing.servers import StoreServer
from realmkeep.testing.wire import FaultyWire, WireFault

pytestmark = pytest.mark.backend("valkey")

FIRST = Transaction((), (Put("rev", b"1"),))
GUARDED = Transaction((Guard("rev", b"1"),), (Put("rev", b"2"), Append("log", b"guarded")))
UNGUARDED = Transaction((), (Append("log", b"unguarded"),))


async def connected(url: str, *, timeout_s: float = 10.0) -> Storage:
    storage = open_storage(f"{url}?timeout_s={timeout_s}")
    await storage.connect()
    assert await storage.write([FIRST]) == [Committed()]
    return storage


async def until_back(storage: Storage) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                await storage.exists("rev")
            except StorageUnavailable:
                await asyncio.sleep(0.005)
            else:
                return


async def write_through(storage: Storage, wire: FaultyWire, fault: WireFault, batch: Sequence[Transaction]) -> None:
    wire.arm(fault, b"EVALSHA")
    outcomes = await storage.write(batch)
    assert [type(outcome) for outcome in outcomes] == [Unknown] * len(batch)
    assert all(isinstance(each, Unknown) and isinstance(each.error, OutcomeUnknown) for each in outcomes)
    assert wire.faults_done == 1
    await until_back(storage)


@pytest.mark.parametrize("fault", [WireFault.CUT_BEFORE_REPLY, WireFault.GARBAGE])
async def test_a_write_whose_reply_is_lost_is_unknown_and_sent_again_happens_once(
    wire: FaultyWire, fault: WireFault
) -> None:
    storage = await connected(wire.url)
    await write_through(storage, wire, fault, [GUARDED])
    (again,) = await storage.write([GUARDED])
    assert again == Refused(GUARDED.guards[0], b"2")  # it had happened
    assert await storage.load_list("log") == [b"guarded"]
    await storage.disconnect()


async def test_control_without_guards_a_lost_reply_makes_it_happen_twice(wire: FaultyWire) -> None:
    storage = await connected(wire.url)
    await write_through(storage, wire, WireFault.CUT_BEFORE_REPLY, [UNGUARDED])
    await storage.write([UNGUARDED])
    assert await storage.load_list("log") == [b"unguarded"] * 2
    await storage.disconnect()


async def test_a_request_that_arrives_after_its_resend_is_refused(wire: FaultyWire) -> None:
    storage = await connected(wire.url, timeout_s=0.6)
    await write_through(storage, wire, WireFault.HOLD_REQUEST, [GUARDED])
    assert await storage.load("rev") == b"1"
    assert await storage.write([GUARDED]) == [Committed()]
    assert b"$1\r\n2\r\n" in await wire.release()  # refused: it found revision 2
    assert await storage.load_list("log") == [b"guarded"]
    await storage.disconnect()


async def test_control_a_request_without_guards_that_arrives_after_its_resend_happens_twice(wire: FaultyWire) -> None:
    storage = await connected(wire.url, timeout_s=0.6)
    await write_through(storage, wire, WireFault.HOLD_REQUEST, [UNGUARDED])
    assert await storage.write([UNGUARDED]) == [Committed()]
    await wire.release()
    assert await storage.load_list("log") == [b"unguarded"] * 2
    await storage.disconnect()


async def test_a_half_open_connection_is_noticed_and_replaced(wire: FaultyWire) -> None:
    storage = await connected(wire.url, timeout_s=0.6)
    await write_through(storage, wire, WireFault.SILENCE, [GUARDED])
    assert await storage.write([GUARDED]) == [Committed()]
    await storage.disconnect()


async def test_one_byte_at_a_time_changes_nothing(wire: FaultyWire) -> None:
    wire.segment_bytes = 1
    storage = await connected(wire.url)
    value = bytes(range(256)) * 2
    outcomes = await storage.write([GUARDED, GUARDED, Transaction((), (Put("bytes", value),))])
    assert outcomes == [Committed(), Refused(GUARDED.guards[0], b"2"), Committed()]
    assert await storage.load("bytes") == value
    await storage.disconnect()


async def test_counting_is_never_repeated_behind_the_callers_back(wire: FaultyWire) -> None:
    storage = await connected(wire.url)
    wire.arm(WireFault.CUT_BEFORE_REPLY, b"INCRBY")
    with pytest.raises(OutcomeUnknown):
        await storage.increment("count")
    assert await storage.increment("count") == 2
    await storage.disconnect()


async def test_control_the_driver_with_retries_counts_twice_for_one_call(wire: FaultyWire) -> None:
    client = redis.asyncio.Redis(unix_socket_path=wire.url.removeprefix("redis+unix://"), retry=Retry(NoBackoff(), 3))
    wire.arm(WireFault.CUT_BEFORE_REPLY, b"INCRBY")
    assert await client.incrby("count") == 2
    await client.aclose()


@pytest.mark.parametrize("change", ["save", "delete"])
async def test_save_and_delete_say_that_their_outcome_is_unknown(wire: FaultyWire, change: str) -> None:
    storage = await connected(wire.url)
    wire.arm(WireFault.CUT_BEFORE_REPLY, {"save": b"EXEC", "delete": b"DEL"}[change])
    with pytest.raises(OutcomeUnknown, match="'rev'"):
        await (storage.save("rev", b"saved") if change == "save" else storage.delete("rev"))
    assert await storage.load("rev") == (b"saved" if change == "save" else None)
    await storage.disconnect()


async def test_a_read_whose_reply_is_lost_is_unavailable_and_can_be_tried_again(wire: FaultyWire) -> None:
    storage = await connected(wire.url)
    wire.arm(WireFault.CUT_BEFORE_REPLY, b"GET")
    with pytest.raises(StorageUnavailable) as caught:
        await storage.load("rev")
    assert caught.value.outcome == "not_applied"
    assert await storage.load("rev") == b"1"
    await storage.disconnect()


async def test_clients_that_are_killed_come_back(server: StoreServer) -> None:
    storage = await connected(server.url)
    for number in range(5):
        await asyncio.to_thread(server.ask, "CLIENT", "KILL", "TYPE", "normal")
        await until_back(storage)
        value = b"%d" % number
        while [type(each) for each in await storage.write([Transaction((), (Put("n", value),))])] != [Committed]:
            await asyncio.sleep(0.005)
        assert await storage.load("n") == value
    await storage.disconnect()


async def test_while_it_is_away_every_call_fails_at_once_and_nothing_is_queued(server: StoreServer) -> None:
    storage = await connected(server.url)
    await asyncio.to_thread(server.kill)
    outcomes = await storage.write([GUARDED])
    assert isinstance(outcomes[0], Unknown) or outcomes[0].error.retryable  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - Failed
    with pytest.raises(StorageError):
        await storage.load("rev")
    await asyncio.to_thread(server.start)
    await until_back(storage)
    assert await storage.load("rev") == b"1"
    assert await storage.write([GUARDED]) == [Committed()]
    await storage.disconnect()


async def test_cancelled_callers_leave_every_reply_with_its_own_request(server: StoreServer) -> None:
    storage = await connected(server.url)
    for number in range(200):
        doomed = asyncio.create_task(storage.write([Transaction((), (Put("doomed", b"%d" % number),))]))
        kept = asyncio.create_task(storage.write([Transaction((Guard("rev", b"wrong"),), ())]))
        reading = asyncio.create_task(storage.load("rev"))
        for _ in range(number % 7):
            await asyncio.sleep(0)
        doomed.cancel()
        reading.cancel()
        assert await kept == [Refused(Guard("rev", b"wrong"), b"1")]
        await asyncio.wait([doomed, reading])
        assert await storage.load("rev") == b"1"
    await storage.disconnect()
