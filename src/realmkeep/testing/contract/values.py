"""Expiry, types and limits."""

from collections.abc import Sequence

import pytest

from realmkeep.errors import InvalidKey, ValueTooLarge, WrongType
from realmkeep.storage.protocol import (
    COMMITTED,
    KEY_BYTES_MAX,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_KEYS_MAX,
    VALUE_BYTES_MAX,
    Append,
    Committed,
    Delete,
    DropFirst,
    Failed,
    Guard,
    Put,
    Refused,
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
    put_both,
    when,
)

SOON_S = 0.03
PAST_S = 0.06
FAR_S = 3600.0


class ExpiryTests(ContractTests):
    """Expiry on the store's own clock."""

    async def test_an_expired_key_is_absent_for_guards_and_every_read(self, storage: Storage, backend: Backend) -> None:
        await commit(storage, Put("lease", b"us", expire_s=SOON_S), Put("kept", b"k"))
        await backend.elapse(PAST_S)
        assert await storage.load("lease") is None
        assert await storage.load_many(["lease", "kept"]) == [None, b"k"]
        assert await storage.load_list("lease") == []
        assert not await storage.exists("lease")
        assert await all_keys(storage) == ["kept"]
        assert not await storage.delete("lease")
        held, free = Guard("lease", b"us"), Guard("lease", None)
        assert await storage.write([when(held), when(free, then=(Put("lease", b"them"),))]) == [
            Refused(held, None),
            COMMITTED,
        ]

    async def test_an_unexpired_key_is_there(self, storage: Storage, backend: Backend) -> None:
        await commit(storage, Put("lease", b"us", expire_s=FAR_S))
        await backend.elapse(PAST_S)
        assert await storage.load("lease") == b"us"
        assert await storage.write([when(Guard("lease", b"us"))]) == [COMMITTED]
        assert await all_keys(storage) == ["lease"]

    async def test_a_put_renews_the_expiry(self, storage: Storage, backend: Backend) -> None:
        await commit(storage, Put("lease", b"1", expire_s=SOON_S), Put("short", b"1", expire_s=FAR_S))
        await commit(storage, Put("lease", b"2", expire_s=FAR_S), Put("short", b"2", expire_s=SOON_S))
        await backend.elapse(PAST_S)
        assert await storage.load_many(["lease", "short"]) == [b"2", None]

    async def test_a_put_without_expiry_removes_it(self, storage: Storage, backend: Backend) -> None:
        soon = [Put(key, b"1", expire_s=SOON_S) for key in ("put", "twice", "saved", "remade", "list")]
        await commit(storage, *soon)
        await commit(storage, Put("put", b"2"), Put("twice", b"2", expire_s=SOON_S), Put("twice", b"3"))
        await commit(storage, Delete("remade"), Put("remade", b"2"), Delete("list"), Append("list", b"2"))
        await storage.save("saved", b"2")
        await backend.elapse(PAST_S)
        assert await storage.load_many(["put", "twice", "saved", "remade"]) == [b"2", b"3", b"2", b"2"]
        assert await storage.load_list("list") == [b"2"]

    async def test_the_last_put_of_a_transaction_decides_the_expiry(self, storage: Storage, backend: Backend) -> None:
        await commit(storage, Put("a", b"1"), Put("a", b"2", expire_s=SOON_S))
        await commit(storage, Put("b", b"1", expire_s=FAR_S), Put("b", b"2", expire_s=SOON_S))
        await commit(storage, Put("c", b"1", expire_s=SOON_S), Put("c", b"2", expire_s=FAR_S))
        await backend.elapse(PAST_S)
        assert await storage.load_many(["a", "b", "c"]) == [None, None, b"2"]

    async def test_a_refused_put_changes_no_expiry(self, storage: Storage, backend: Backend) -> None:
        await commit(storage, Put("a", b"1"), Put("b", b"1", expire_s=SOON_S))
        never = Guard("never", b"x")
        await storage.write([when(never, then=(Put("a", b"1", expire_s=SOON_S), Put("b", b"1")))])
        await backend.elapse(PAST_S)
        assert await storage.load_many(["a", "b"]) == [b"1", None]

    async def test_incrementing_keeps_the_expiry(self, storage: Storage) -> None:
        await commit(storage, Put("later", b"1", expire_s=FAR_S), Put("kept", b"1"))
        assert [await storage.increment(key) for key in ("later", "kept")] == [2, 2]
        left_s, never = await storage.expiries(["later", "kept"])
        assert left_s is not None
        assert 0 < left_s <= FAR_S
        assert never is None

    async def test_what_expired_can_be_made_anew_with_the_other_type(self, storage: Storage, backend: Backend) -> None:
        await commit(storage, Put("a", b"1", expire_s=SOON_S), Put("n", b"x", expire_s=SOON_S))
        await backend.elapse(PAST_S)
        await commit(storage, Append("a", b"2"))
        assert await storage.increment("n") == 1
        await backend.elapse(PAST_S)
        assert await storage.load_list("a") == [b"2"]


class TypeTests(ContractTests):
    """A key holds a value or a list; a call that needs the other type leaves the key alone."""

    @pytest.mark.parametrize(
        ("transaction", "culprit"),
        [
            (when(Guard("list", None)), "list"),
            (when(Guard("list", b"a")), "list"),
            (do(Put("list", b"x")), "list"),
            (do(Put("list", b"x" * 5_000)), "list"),
            (do(Put("list", b"x", expire_s=FAR_S)), "list"),
            (do(Append("value", b"x")), "value"),
            (do(DropFirst("value", 1)), "value"),
            (do(Put("new", b"x"), Append("list", b"x"), Delete("value"), Put("list", b"x")), "list"),
            (do(Put("new", b"x"), Append("new", b"y")), "new"),
            (do(Append("new", b"x"), Put("new", b"y")), "new"),
            (do(Delete("list"), Put("list", b"x"), DropFirst("list", 1)), "list"),
            (do(DropFirst("list", 1), Put("list", b"x")), "list"),
            (when(Guard("value", b"v"), Guard("list", None), then=(Delete("list"),)), "list"),
        ],
    )
    async def test_a_transaction_of_the_wrong_type_fails_whole_and_alone(
        self, storage: Storage, transaction: Transaction, culprit: str
    ) -> None:
        await put_both(storage)
        before, failed, after = await storage.write([do(Put("before", b"1")), transaction, do(Put("after", b"1"))])
        assert (before, after) == (COMMITTED, COMMITTED)
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, WrongType)
        assert not failed.error.retryable
        assert repr(culprit) in str(failed.error)
        await assert_both_untouched(storage)
        assert await all_keys(storage) == ["after", "before", "list", "value"]

    async def test_the_first_of_a_refusal_and_a_wrong_type_decides(self, storage: Storage) -> None:
        await put_both(storage)
        unmet, on_a_list = Guard("value", b"x"), Guard("list", b"x")
        refused, failed, also_refused = await storage.write(
            [when(unmet, on_a_list), when(on_a_list, unmet), when(unmet, then=(Put("list", b"x"),))]
        )
        assert refused == also_refused == Refused(unmet, b"v")
        assert isinstance(failed, Failed)
        await assert_both_untouched(storage)

    @pytest.mark.parametrize(
        "effects",
        [
            (Delete("list"), Put("list", b"x"), Delete("value"), Append("value", b"x")),
            (DropFirst("list", 2), Put("list", b"x"), Delete("value"), DropFirst("value", 1), Append("value", b"x")),
            (Append("list", b"c"), DropFirst("list", 3), Put("list", b"x"), Delete("value"), Append("value", b"x")),
        ],
    )
    async def test_a_key_can_change_its_type_by_way_of_nothing(
        self, storage: Storage, effects: Sequence[Put | Delete | Append | DropFirst]
    ) -> None:
        await put_both(storage)
        await commit(storage, *effects)
        assert await storage.load("list") == b"x"
        assert await storage.load_list("value") == [b"x"]

    async def test_an_earlier_transaction_of_the_batch_decides_the_type(self, storage: Storage) -> None:
        outcomes = await storage.write(
            [do(Append("a", b"1")), do(Put("a", b"2")), do(Delete("a")), do(Put("a", b"3")), do(Append("a", b"4"))]
        )
        assert [type(outcome) for outcome in outcomes] == [Committed, Failed, Committed, Committed, Failed]
        assert await storage.load("a") == b"3"

    async def test_reading_the_wrong_type_is_an_error_that_names_the_key(self, storage: Storage) -> None:
        await put_both(storage)
        calls = (
            (lambda: storage.load("list"), "'list'"),
            (lambda: storage.load_many(["value", "absent", "list"]), "'list'"),
            (lambda: storage.load_list("value"), "'value'"),
            (lambda: storage.increment("list"), "'list'"),
            (lambda: storage.save("list", b"x"), "'list'"),
        )
        for call, culprit in calls:
            with pytest.raises(WrongType, match=culprit):
                await call()
        await assert_both_untouched(storage)
        assert await all_keys(storage) == ["list", "value"]

    async def test_delete_removes_either(self, storage: Storage) -> None:
        await put_both(storage)
        assert await storage.delete("value")
        assert await storage.delete("list")
        assert not await storage.delete("list")
        assert await all_keys(storage) == []


class EndTests(ContractTests):
    """The time that is left of a key."""

    async def test_the_time_that_is_left_is_told(self, storage: Storage) -> None:
        assert await storage.expiries([]) == []
        await put_both(storage)
        await commit(storage, Put("hour", b"x", expire_s=3600), Put("day", b"x", expire_s=24 * 3600))
        hour, day, *others = await storage.expiries(["hour", "day", "value", "list", "absent", "hour"])
        assert hour is not None
        assert 3500 < hour <= 3600
        assert day is not None
        assert 23 * 3600 < day <= 24 * 3600
        assert others[:3] == [None, None, None]
        assert others[3] is not None
        await commit(storage, Put("hour", b"y"))
        assert await storage.expiries(["hour"]) == [None]

    async def test_a_key_that_has_vanished_has_no_time_left(self, storage: Storage, backend: Backend) -> None:
        await commit(storage, Put("a", b"x", expire_s=0.05))
        await backend.elapse(0.1)
        assert await storage.expiries(["a"]) == [None]


class LimitTests(ContractTests):
    """A call beyond the limits is refused before any part of it is sent."""

    @pytest.mark.parametrize(
        "transaction",
        [
            do(Put("k" * (KEY_BYTES_MAX + 1), b"")),
            do(Put("ü" * (KEY_BYTES_MAX // 2 + 1), b"")),
            do(Put("a", bytes(VALUE_BYTES_MAX + 1))),
            do(Append("a", bytes(VALUE_BYTES_MAX + 1))),
            when(Guard("a", bytes(VALUE_BYTES_MAX + 1))),
            do(*[Delete("a")] * (TRANSACTION_KEYS_MAX + 1)),
            do(*[Put("a", bytes(VALUE_BYTES_MAX))] * (TRANSACTION_BYTES_MAX // VALUE_BYTES_MAX)),
        ],
        ids=["key", "key of two-byte characters", "value", "entry", "guard", "keys", "bytes"],
    )
    async def test_a_call_with_something_too_large_sends_nothing(
        self, storage: Storage, transaction: Transaction
    ) -> None:
        with pytest.raises(ValueTooLarge):
            await storage.write([do(Put("before", b"1")), transaction])
        assert await all_keys(storage) == []

    @pytest.mark.parametrize("key", ["", "a\0b", "\ud800"])
    async def test_a_malformed_key_is_refused_by_every_method(self, storage: Storage, key: str) -> None:
        calls = (
            lambda: storage.write([do(Put("before", b"1")), do(Put(key, b"1"))]),
            lambda: storage.write([do(Put("before", b"1")), when(Guard(key, None))]),
            lambda: storage.load(key),
            lambda: storage.load_many(["a", key]),
            lambda: storage.load_list(key),
            lambda: storage.expiries(["a", key]),
            lambda: storage.exists(key),
            lambda: storage.increment(key),
            lambda: storage.save(key, b"1"),
            lambda: storage.delete(key),
        )
        for call in calls:
            with pytest.raises(InvalidKey):
                await call()
        assert await all_keys(storage) == []

    async def test_the_largest_that_is_allowed_is_stored(self, storage: Storage) -> None:
        longest, widest, largest = "k" * KEY_BYTES_MAX, "ü" * (KEY_BYTES_MAX // 2), bytes(VALUE_BYTES_MAX)
        await commit(storage, Put(longest, largest), Append(widest, largest))
        await commit(storage, *[Put(f"key:{n}", b"") for n in range(TRANSACTION_KEYS_MAX)])
        full = TRANSACTION_BYTES_MAX // VALUE_BYTES_MAX
        await commit(storage, *[Put(f"full:{n}", bytes(VALUE_BYTES_MAX - 10)) for n in range(full)])
        assert await storage.load(longest) == largest
        assert await storage.load_list(widest) == [largest]
        assert len(await all_keys(storage)) == 2 + TRANSACTION_KEYS_MAX + full

    async def test_save_refuses_what_is_too_large(self, storage: Storage) -> None:
        await storage.save("a", bytes(VALUE_BYTES_MAX))
        for key, value in (("a", bytes(VALUE_BYTES_MAX + 1)), ("k" * (KEY_BYTES_MAX + 1), b"")):
            with pytest.raises(ValueTooLarge):
                await storage.save(key, value)
        assert await storage.load("a") == bytes(VALUE_BYTES_MAX)
        assert await all_keys(storage) == ["a"]
