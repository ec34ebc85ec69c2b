"""Order, durability, cancellation, and the life of a storage object."""

import asyncio
from itertools import count

import pytest

from realmkeep.errors import StorageLocked, StorageUnavailable, WrongType
from realmkeep.storage.protocol import COMMITTED, Append, Failed, Guard, Put, Storage, WriteOutcome
from realmkeep.testing.contract.backend import (
    Backend,
    ContractTests,
    all_keys,
    assert_both_untouched,
    cancelled_at,
    commit,
    do,
    put_both,
    when,
)

READS = 150  # more than a backend sends at once
TURNS_MAX = 12  # of the event loop; by then a request to a real server is under way


class OrderTests(ContractTests):
    """The order within a call and between the calls of one object."""

    async def test_calls_take_effect_in_the_order_in_which_they_started(self, storage: Storage) -> None:
        calls = [
            asyncio.create_task(storage.write([do(Append("log", b"%d.%d" % (n, m))) for m in range(n % 4)]))
            for n in range(100)
        ]
        outcomes = await asyncio.gather(*calls)
        assert [len(each) for each in outcomes] == [n % 4 for n in range(100)]
        expected = [b"%d.%d" % (n, m) for n in range(100) for m in range(n % 4)]
        assert await storage.load_list("log") == expected

    async def test_a_call_may_depend_on_one_that_is_still_under_way(self, storage: Storage) -> None:
        calls = [
            asyncio.create_task(
                storage.write([when(Guard("a", None if n == 0 else b"%d" % (n - 1)), then=(Put("a", b"%d" % n),))])
            )
            for n in range(100)
        ]
        assert await asyncio.gather(*calls) == [[COMMITTED]] * 100

    async def test_large_and_small_calls_keep_their_order(self, storage: Storage) -> None:
        sizes = [300_000 if n % 3 == 0 else 1 for n in range(12)]
        calls = [
            asyncio.create_task(storage.write([do(Append("log", bytes([n]) * size))])) for n, size in enumerate(sizes)
        ]
        await asyncio.gather(*calls)
        assert [(entry[0], len(entry)) for entry in await storage.load_list("log")] == list(enumerate(sizes))

    async def test_a_read_that_starts_after_a_write_returned_sees_it(self, storage: Storage) -> None:
        for n in range(20):
            value = str(n).encode()
            await commit(storage, Put("a", value), Append("l", value))
            assert await storage.load("a") == value
            assert await storage.load_many(["a"]) == [value]
            assert await storage.load_list("l", start=n) == [value]

    async def test_reads_while_writes_are_under_way_never_go_back(self, storage: Storage) -> None:
        writes = [asyncio.create_task(storage.write([do(Put("n", b"%d" % n))])) for n in range(100)]
        last = -1
        while not all(write.done() for write in writes):
            seen = int(await storage.load("n") or b"-1")
            assert seen >= last
            last = seen
        assert await storage.load("n") == b"99"


class DurabilityTests(ContractTests):
    """Durability without a power failure; the tests of each backend cover that."""

    async def test_what_was_committed_is_there_when_the_store_is_opened_again(
        self, storage: Storage, backend: Backend
    ) -> None:
        await put_both(storage)
        await commit(storage, Put("lasting", b"x", expire_s=3600))
        await storage.increment("number", 3)
        await storage.save("saved", b"s")
        await storage.disconnect()
        again = backend.new()
        await again.connect()
        await assert_both_untouched(again)
        assert await again.load_many(["lasting", "number", "saved"]) == [b"x", b"3", b"s"]
        await again.disconnect()

    async def test_flush_returns_after_everything_that_was_accepted(self, storage: Storage) -> None:
        calls = [asyncio.create_task(storage.write([do(Append("log", b"%d" % n))])) for n in range(20)]
        await asyncio.sleep(0)  # each call has started to run
        await storage.flush()
        assert len(await storage.load_list("log")) == 20
        assert await asyncio.gather(*calls) == [[COMMITTED]] * 20

    async def test_a_snapshot_changes_nothing_and_may_be_asked_for_twice(self, storage: Storage) -> None:
        await put_both(storage)
        await storage.snapshot()
        await storage.snapshot()
        await assert_both_untouched(storage)

    async def test_disconnect_finishes_what_was_accepted(self, storage: Storage, backend: Backend) -> None:
        calls = [asyncio.create_task(storage.write([do(Append("log", b"%d" % n))])) for n in range(20)]
        await asyncio.sleep(0)  # each call has started to run
        await storage.disconnect()
        assert await asyncio.gather(*calls) == [[COMMITTED]] * 20
        again = backend.new()
        await again.connect()
        assert await again.load_list("log") == [b"%d" % n for n in range(20)]
        await again.disconnect()

    async def test_everybody_who_uses_it_sees_the_same_run(self, storage: Storage, backend: Backend) -> None:
        run = await storage.run_id()
        assert run or storage.capability.loss_window_s == 0
        if storage.capability.shared:
            again = backend.new()
            await again.connect()
            assert await again.run_id() == run
            await again.disconnect()
        await storage.write([do(Put("a", b"1"))])
        assert await storage.run_id() == run

    async def test_capability_promises_nothing_contradictory(self, storage: Storage) -> None:
        capability = storage.capability
        assert capability.backend
        assert capability.engine
        assert capability.fsync
        assert capability.durable_on_return or not capability.survives_power_loss
        assert capability.durable_on_return or capability.loss_window_s != 0
        assert capability.loss_window_s == 0 or not capability.durable_on_return or capability.survives_node_loss


class CancellationTests(ContractTests):
    """A cancelled call abandons only its wait."""

    async def test_a_write_cancelled_at_any_await_happens_wholly_or_not_at_all(self, storage: Storage) -> None:
        suspension = 0
        for suspension in count():
            value = b"%d" % suspension
            bystander = asyncio.create_task(storage.write([do(Append("bystander", value))]))
            batch = [do(Put("a", value), Put("b", value), Append("l", value)), do(Put("c", value))]
            cancelled = await cancelled_at(storage.write(batch), suspension)
            assert await bystander == [COMMITTED]
            await self._all_or_nothing(storage, value, cancelled=cancelled)
            if not cancelled:
                break
        assert suspension > 0, "a write that never suspends cannot have waited for anything"
        assert await storage.load_list("bystander") == [b"%d" % n for n in range(suspension + 1)]

    async def test_a_write_cancelled_after_any_number_of_turns_happens_wholly_or_not_at_all(
        self, storage: Storage
    ) -> None:
        for turns in range(TURNS_MAX):
            value = b"%d" % turns
            before = asyncio.create_task(storage.write([do(Append("bystander", value + b"<"))]))
            batch = [do(Put("a", value), Put("b", value), Append("l", value)), do(Put("c", value))]
            doomed = asyncio.create_task(storage.write(batch))
            after = asyncio.create_task(storage.write([do(Append("bystander", value + b">"))]))
            for _ in range(turns):
                await asyncio.sleep(0)
            doomed.cancel()
            assert await asyncio.gather(before, after) == [[COMMITTED]] * 2
            await asyncio.wait([doomed])
            await self._all_or_nothing(storage, value, cancelled=doomed.cancelled())
        expected = [b"%d%c" % (turns, end) for turns in range(TURNS_MAX) for end in b"<>"]
        assert await storage.load_list("bystander") == expected

    async def _all_or_nothing(self, storage: Storage, value: bytes, *, cancelled: bool) -> None:
        await storage.flush()  # an abandoned call has happened by now, or never will
        held = await storage.load_many(["a", "b", "c"])
        entries = await storage.load_list("l")
        applied = [held[0] == value, held[1] == value, entries[-1:] == [value]]
        assert all(applied) or not any(applied)
        assert cancelled or (all(applied) and held[2] == value)
        assert held[2] != value or all(applied), "the second transaction overtook the first"

    async def test_reads_and_counters_survive_the_cancellation_of_others_at_any_await(self, storage: Storage) -> None:
        await put_both(storage)
        await commit(storage, Put("a", b"A"), Put("b", b"B"))

        calls = (
            lambda: storage.load("a"),
            lambda: storage.load_many(["a", "b"]),
            lambda: storage.load_list("list"),
            lambda: storage.exists("a"),
            lambda: storage.increment("doomed"),
            lambda: storage.save("saved", b"s"),
            lambda: storage.delete("absent"),
            storage.flush,
            storage.snapshot,
            lambda: all_keys(storage, "a"),
            storage.sweep_temp,
        )
        for call in calls:
            for suspension in count():
                others = asyncio.gather(storage.load("b"), storage.increment("count"), storage.load_many(["b", "a"]))
                cancelled = await cancelled_at(call(), suspension)
                loaded, counted, many = await others
                assert (loaded, many) == (b"B", [b"B", b"A"])
                assert await storage.increment("count", 0) == counted
                if not cancelled:
                    break
        await assert_both_untouched(storage)

    async def test_a_read_that_is_refused_leaves_the_others_of_its_turn_alone(self, storage: Storage) -> None:
        await put_both(storage)
        numbers = [b"%d" % number for number in range(READS)]
        await commit(storage, *[Put(f"n{number}", value) for number, value in enumerate(numbers)])
        refused, *read = await asyncio.gather(
            storage.load("list"), *[storage.load(f"n{number}") for number in range(READS)], return_exceptions=True
        )
        assert isinstance(refused, WrongType)
        assert read == numbers


class LifeTests(ContractTests):
    """Connecting, disconnecting, and a second object on the same store."""

    async def test_an_object_that_is_not_connected_refuses_and_changes_nothing(
        self, storage: Storage, backend: Backend
    ) -> None:
        never = backend.new()
        await self._assert_refuses(never)
        await storage.disconnect()
        await self._assert_refuses(storage)
        await storage.connect()
        assert await all_keys(storage) == []

    async def _assert_refuses(self, storage: Storage) -> None:
        outcomes: list[WriteOutcome] = await storage.write([do(Put("a", b"1")), do()])
        assert [type(outcome) for outcome in outcomes] == [Failed, Failed]
        assert all(isinstance(each, Failed) and isinstance(each.error, StorageUnavailable) for each in outcomes)
        calls = (
            lambda: storage.load("a"),
            lambda: storage.load_many(["a"]),
            lambda: storage.load_list("a"),
            lambda: storage.expiries(["a"]),
            lambda: storage.exists("a"),
            lambda: all_keys(storage),
            lambda: storage.increment("a"),
            storage.flush,
            storage.snapshot,
            lambda: storage.save("a", b"1"),
            lambda: storage.delete("a"),
            storage.sweep_temp,
        )
        for call in calls:
            with pytest.raises(StorageUnavailable):
                await call()
        with pytest.raises(StorageUnavailable):
            _ = storage.capability

    async def test_connecting_and_disconnecting_again_does_nothing(self, storage: Storage) -> None:
        await commit(storage, Put("a", b"1"))
        await storage.connect()
        assert await storage.load("a") == b"1"
        await storage.disconnect()
        await storage.disconnect()
        await storage.connect()
        assert await storage.load("a") == b"1"

    async def test_a_second_object_on_the_store_shares_it_or_is_refused(
        self, storage: Storage, backend: Backend
    ) -> None:
        await commit(storage, Put("a", b"1"))
        second = backend.new()
        if backend.opens_twice:
            await second.connect()
            assert await second.load("a") == b"1"
            await commit(second, Put("a", b"2"))
            assert await storage.load("a") == b"2"
            await second.disconnect()
        else:
            with pytest.raises(StorageLocked):
                await second.connect()
        await commit(storage, Put("b", b"1"))
        await storage.disconnect()
        await second.connect()
        assert await second.load("b") == b"1"
        await second.disconnect()
