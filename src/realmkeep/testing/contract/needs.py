"""The needs of a transaction: a key exists, or a list is not full."""

import asyncio

import pytest

from realmkeep.errors import WrongType
from realmkeep.storage.protocol import (
    COMMITTED,
    Append,
    Delete,
    DropFirst,
    Failed,
    Guard,
    Need,
    Present,
    Put,
    Refused,
    Shorter,
    Storage,
    Transaction,
)
from realmkeep.testing.contract.backend import (
    Backend,
    ContractTests,
    all_keys,
    assert_both_untouched,
    commit,
    do,
    needing,
    put_both,
    rivals,
    when,
)
from realmkeep.testing.contract.values import FAR_S, PAST_S, SOON_S


class NeedTests(ContractTests):
    """`Present` and `Shorter`."""

    @pytest.mark.parametrize("need", [Present("value"), Present("list"), Shorter("list", 3), Shorter("absent", 1)])
    async def test_a_need_that_holds_changes_nothing_by_itself(self, storage: Storage, need: Need) -> None:
        await put_both(storage)
        assert await storage.write([needing(need), needing(need, then=(Put("done", b"1"),))]) == [COMMITTED] * 2
        await assert_both_untouched(storage)
        assert await all_keys(storage) == ["done", "list", "value"]

    @pytest.mark.parametrize(
        ("need", "found"),
        [(Present("absent"), None), (Shorter("list", 2), b"2"), (Shorter("list", 1), b"2")],
    )
    async def test_a_need_that_does_not_hold_is_reported_and_nothing_happens(
        self, storage: Storage, need: Need, found: bytes | None
    ) -> None:
        await put_both(storage)
        holds = (Present("value"), Shorter("list", 3))
        refused = needing(*holds, need, Present("never"), then=(Put("done", b"1"), Append("list", b"c")))
        assert await storage.write([do(Put("before", b"")), refused, do(Put("after", b""))]) == [
            COMMITTED,
            Refused(need, found),
            COMMITTED,
        ]
        await assert_both_untouched(storage)
        assert not await storage.exists("done")

    async def test_an_empty_value_is_present_and_an_expired_one_is_not(
        self, storage: Storage, backend: Backend
    ) -> None:
        await commit(storage, Put("empty", b""), Put("later", b"x", expire_s=FAR_S), Put("soon", b"x", expire_s=SOON_S))
        assert await storage.write([needing(Present("empty"), Present("later"))]) == [COMMITTED]
        await backend.elapse(PAST_S)
        assert await storage.write([needing(Present("soon"))]) == [Refused(Present("soon"), None)]
        assert await storage.write([needing(Shorter("soon", 1), then=(Append("soon", b"1"),))]) == [COMMITTED]

    async def test_guards_decide_before_needs(self, storage: Storage) -> None:
        never = Guard("never", b"x")
        both = needing(Present("absent"), guards=(never,), then=(Put("done", b""),))
        assert await storage.write([both]) == [Refused(never, None)]

    async def test_needs_are_looked_at_before_the_first_effect(self, storage: Storage) -> None:
        makes = needing(Present("a"), then=(Put("a", b"1"),))
        empties = needing(Shorter("list", 2), then=(DropFirst("list", 1),))
        await put_both(storage)
        assert await storage.write([makes, empties]) == [
            Refused(Present("a"), None),
            Refused(Shorter("list", 2), b"2"),
        ]
        await assert_both_untouched(storage)

    async def test_a_later_transaction_of_a_batch_sees_what_the_earlier_ones_left(self, storage: Storage) -> None:
        await put_both(storage)
        full, here = Shorter("list", 3), Present("value")
        outcomes = await storage.write(
            [
                needing(full, then=(Append("list", b"c"),)),
                needing(full, then=(Append("list", b"d"),)),
                when(Guard("never", b"x"), then=(DropFirst("list", 1),)),  # refused, so it makes no room
                needing(full, then=(Append("list", b"e"),)),
                needing(here, then=(DropFirst("list", 1), Delete("value"))),
                needing(full, then=(Append("list", b"f"),)),
                needing(here),
                needing(Present("new"), then=(Put("new", b"0"),)),
                do(Put("new", b"1")),
                needing(Present("new"), Present("list"), then=(Delete("list"),)),
                needing(Shorter("list", 1), then=(Append("list", b"g"),)),
                needing(Present("list"), then=(Delete("list"), Put("list", b"v"))),
                needing(Present("list")),
            ]
        )
        too_long, gone = Refused(full, b"3"), Refused(here, None)
        never, new = Refused(Guard("never", b"x"), None), Refused(Present("new"), None)
        expected = [COMMITTED, too_long, never, too_long, COMMITTED, COMMITTED, gone, new, *[COMMITTED] * 5]
        assert outcomes == expected
        assert await storage.load_many(["value", "new", "list"]) == [None, b"1", b"v"]

    @pytest.mark.parametrize(
        "transaction",
        [
            needing(Shorter("value", 1000), then=(Put("new", b"x"),)),
            needing(Present("value"), Shorter("value", 1), then=(Delete("value"),)),
            needing(Shorter("value", 1), then=(Delete("value"), Append("value", b"x"))),
        ],
    )
    async def test_the_length_of_a_value_is_the_wrong_type(self, storage: Storage, transaction: Transaction) -> None:
        await put_both(storage)
        failed, after = await storage.write([transaction, do(Put("after", b""))])
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, WrongType)
        assert "'value'" in str(failed.error)
        assert after == COMMITTED
        await assert_both_untouched(storage)

    async def test_two_who_fill_a_list_never_overfill_it(self, storage: Storage, backend: Backend) -> None:
        room = Shorter("list", 20)

        async def fill(through: Storage) -> int:
            done = 0
            for _ in range(15):
                outcomes = await through.write([needing(room, then=(Append("list", b"x"),))])
                done += outcomes == [COMMITTED]
            return done

        async with rivals(storage, backend) as (one, other):
            assert sum(await asyncio.gather(fill(one), fill(other), fill(one))) == 20
            assert len(await other.load_list("list")) == 20
