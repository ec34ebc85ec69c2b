"""The mini-transaction: guards, effects, all or nothing."""

import asyncio

from realmkeep.storage.protocol import (
    COMMITTED,
    VALUE_BYTES_MAX,
    Append,
    Committed,
    Delete,
    DropFirst,
    Guard,
    Put,
    Refused,
    Storage,
)
from realmkeep.testing.contract.backend import Backend, ContractTests, all_keys, clear, commit, do, rivals, when


class TransactionTests(ContractTests):
    """Atomicity, and the meaning of guards and effects."""

    async def test_every_effect_happens_if_every_guard_holds(self, storage: Storage) -> None:
        await commit(storage, Put("owner", b"us"), Put("gone", b"x"), Append("inbox", b"1"), Append("inbox", b"2"))
        guards = (Guard("owner", b"us"), Guard("new", None))
        effects = (Put("new", b"n"), Put("owner", b"you"), Delete("gone"), Append("inbox", b"3"), DropFirst("inbox", 1))
        assert await storage.write([when(*guards, then=effects)]) == [COMMITTED]
        assert await storage.load_many(["owner", "new", "gone"]) == [b"you", b"n", None]
        assert await storage.load_list("inbox") == [b"2", b"3"]

    async def test_nothing_happens_if_one_guard_does_not_hold(self, storage: Storage) -> None:
        await commit(storage, Put("owner", b"us"), Append("inbox", b"1"))
        failing = Guard("owner", b"them")
        effects = (Put("new", b"n"), Delete("owner"), Append("inbox", b"2"), DropFirst("inbox", 1))
        assert await storage.write([when(Guard("new", None), failing, then=effects)]) == [Refused(failing, b"us")]
        assert await storage.load_many(["owner", "new"]) == [b"us", None]
        assert await storage.load_list("inbox") == [b"1"]

    async def test_the_first_guard_that_does_not_hold_is_reported_with_what_was_found(self, storage: Storage) -> None:
        await commit(storage, Put("a", b"1"), Put("b", b"2"))
        for guards, failing, found in (
            ((Guard("a", b"1"), Guard("b", b"9"), Guard("c", b"9")), Guard("b", b"9"), b"2"),
            ((Guard("c", b"9"), Guard("b", b"9")), Guard("c", b"9"), None),
            ((Guard("a", None),), Guard("a", None), b"1"),
            ((Guard("a", b""),), Guard("a", b""), b"1"),
            ((Guard("a", b"1"), Guard("a", b"2")), Guard("a", b"2"), b"1"),
        ):
            assert await storage.write([when(*guards, then=(Put("d", b""),))]) == [Refused(failing, found)]
        assert not await storage.exists("d")

    async def test_an_empty_value_is_not_an_absent_one(self, storage: Storage) -> None:
        await commit(storage, Put("empty", b""))
        assert await storage.load("empty") == b""
        assert await storage.exists("empty")
        outcomes = await storage.write([when(Guard("empty", None)), when(Guard("empty", b""))])
        assert outcomes == [Refused(Guard("empty", None), b""), COMMITTED]
        assert await storage.write([when(Guard("absent", b""))]) == [Refused(Guard("absent", b""), None)]

    async def test_a_refused_transaction_of_a_batch_stops_no_other(self, storage: Storage) -> None:
        never = Guard("never", b"x")
        outcomes = await storage.write([do(Put("a", b"1")), when(never, then=(Put("b", b"2"),)), do(Put("c", b"3"))])
        assert outcomes == [COMMITTED, Refused(never, None), COMMITTED]
        assert await storage.load_many(["a", "b", "c"]) == [b"1", None, b"3"]

    async def test_a_later_transaction_of_a_batch_sees_the_earlier_ones(self, storage: Storage) -> None:
        await commit(storage, Put("gone", b"x"))
        stale = Guard("a", None)
        outcomes = await storage.write(
            [
                when(Guard("a", None), then=(Put("a", b"1"),)),
                when(Guard("a", b"1"), then=(Put("a", b"2"), Delete("gone"))),
                when(stale, then=(Put("a", b"3"),)),
                when(Guard("a", b"2"), Guard("gone", None), then=(Put("b", b"4"),)),
                when(Guard("b", b"4"), then=(Delete("a"), Append("a", b"5"))),
                do(Append("a", b"6"), DropFirst("a", 1)),
            ]
        )
        assert outcomes == [COMMITTED, COMMITTED, Refused(stale, b"2"), COMMITTED, COMMITTED, COMMITTED]
        assert await storage.load_list("a") == [b"6"]
        assert await all_keys(storage) == ["a", "b"]

    async def test_what_a_refused_transaction_would_have_left_is_not_seen_by_later_ones(self, storage: Storage) -> None:
        outcomes = await storage.write(
            [
                when(Guard("never", b"x"), then=(Put("a", b"1"), Append("l", b"1"))),
                when(Guard("a", b"1"), then=(Put("b", b"1"),)),
                when(Guard("a", None), then=(Append("l", b"2"),)),
            ]
        )
        assert [type(outcome) for outcome in outcomes] == [Refused, Refused, Committed]
        assert await storage.load_list("l") == [b"2"]

    async def test_effects_on_one_key_happen_in_their_order(self, storage: Storage) -> None:
        await commit(storage, Put("a", b"1"), Put("a", b"2"), Delete("a"), Put("a", b"3"), Put("a", b"4"))
        await commit(storage, Put("b", b"1"), Delete("b"))
        await commit(storage, Append("l", b"1"), Append("l", b"2"), DropFirst("l", 1), Append("l", b"3"))
        await commit(storage, Append("m", b"1"), Delete("m"), Append("m", b"2"))
        assert await storage.load_many(["a", "b"]) == [b"4", None]
        assert [await storage.load_list(key) for key in ("l", "m")] == [[b"2", b"3"], [b"2"]]

    async def test_guards_are_compared_before_the_first_effect(self, storage: Storage) -> None:
        await commit(storage, Put("a", b"1"))
        assert await storage.write([when(Guard("a", b"1"), then=(Put("a", b"2"), Put("a", b"3")))]) == [COMMITTED]
        assert await storage.write([when(Guard("a", b"2"), then=(Put("a", b"2"),))]) == [
            Refused(Guard("a", b"2"), b"3")
        ]

    async def test_empty_batches_and_transactions_are_fine(self, storage: Storage) -> None:
        assert await storage.write([]) == []
        assert await storage.write([do(), do()]) == [COMMITTED, COMMITTED]
        assert await storage.write([when(Guard("a", None)), when(Guard("a", b"x"))]) == [
            COMMITTED,
            Refused(Guard("a", b"x"), None),
        ]
        assert await all_keys(storage) == []

    async def test_deleting_and_dropping_what_is_absent_does_nothing(self, storage: Storage) -> None:
        await commit(storage, Delete("absent"), DropFirst("absent", 3))
        assert await all_keys(storage) == []

    async def test_dropping_more_than_there_is_leaves_nothing(self, storage: Storage) -> None:
        await commit(storage, Append("l", b"1"), Append("l", b"2"))
        await commit(storage, DropFirst("l", 2**63 - 1))
        assert not await storage.exists("l")
        assert await all_keys(storage) == []
        await commit(storage, Append("l", b"3"))
        assert await storage.load_list("l") == [b"3"]

    async def test_a_thousand_dependent_transactions_in_one_batch(self, storage: Storage) -> None:
        batch = [
            when(
                Guard("revision", None if n == 0 else str(n - 1).encode()),
                then=(Put("revision", str(n).encode()), Put(f"key:{n}", bytes(700)), Append("log", str(n).encode())),
            )
            for n in range(1000)
        ]
        assert await storage.write(batch) == [COMMITTED] * 1000
        assert await storage.load("revision") == b"999"
        assert await storage.load_list("log") == [str(n).encode() for n in range(1000)]
        assert len(await all_keys(storage)) == 1002

    async def test_values_of_every_byte_and_of_the_largest_size_come_back_as_they_were(self, storage: Storage) -> None:
        every_byte = bytes(range(256))
        largest = every_byte * (VALUE_BYTES_MAX // 256)
        await commit(storage, Put("every", every_byte), Put("largest", largest), Append("l", largest))
        assert await storage.load_many(["every", "largest"]) == [every_byte, largest]
        assert await storage.load_list("l") == [largest]
        guarded = when(Guard("largest", largest), Guard("every", every_byte), then=(Put("done", b"1"),))
        differing = Guard("largest", largest[:-1] + b"\0")
        assert await storage.write([guarded, when(differing)]) == [COMMITTED, Refused(differing, largest)]

    async def test_a_batch_of_the_largest_values_is_no_trouble(self, storage: Storage) -> None:
        largest = bytes(VALUE_BYTES_MAX)
        assert await storage.write([do(Put(f"key:{n}", largest)) for n in range(20)]) == [COMMITTED] * 20
        assert len(await all_keys(storage)) == 20

    async def test_readers_see_all_of_a_transaction_or_nothing(self, storage: Storage) -> None:
        await commit(storage, Put("gold:ada", b"10"), Put("gold:bob", b"0"))

        async def trade_to_and_fro() -> None:
            for n in range(30):
                gold = n % 10
                await commit(storage, Put("gold:ada", str(gold).encode()), Put("gold:bob", str(10 - gold).encode()))

        trading = asyncio.create_task(trade_to_and_fro())
        reads = 0
        while not trading.done() or reads == 0:
            purses = await storage.load_many(["gold:ada", "gold:bob"])
            assert sum(int(purse or b"-99") for purse in purses) == 10
            reads += 1
        await trading

    async def test_two_who_compare_and_set_lose_no_update(self, storage: Storage, backend: Backend) -> None:
        await commit(storage, Put("count", b"0"))

        async def add(through: Storage, times: int) -> None:
            while times:
                seen = await through.load("count")
                outcomes = await through.write(
                    [when(Guard("count", seen), then=(Put("count", str(int(seen or b"") + 1).encode()),))]
                )
                times -= outcomes == [COMMITTED]

        async with rivals(storage, backend) as (one, other):
            await asyncio.gather(add(one, 15), add(other, 15), add(one, 15))
            assert await other.load("count") == b"45"

    async def test_keys_of_any_text_are_kept_apart(self, storage: Storage) -> None:
        texts = ["a b", "a\nb", "a\tb", "*", "?", "[a]", "\\", "{a}", "'", '"', "%s", "ü", "u\u0308", "𝄞", "\u0001", "A", "k" * 1024]  # fmt: skip
        await commit(storage, *(Put(text, text.encode()) for text in texts))
        assert await storage.load_many(texts) == [text.encode() for text in texts]
        assert await all_keys(storage) == sorted(texts)
        await clear(storage, *texts)
        assert await all_keys(storage) == []
