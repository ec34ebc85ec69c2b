import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmkeep.errors import InvalidKey, ValueTooLarge
from realmkeep.storage import limits
from realmkeep.storage.limits import check_key, check_keys, check_transactions, expire_ms, whole_number
from realmkeep.storage.protocol import (
    EXPIRE_S_MAX,
    KEY_BYTES_MAX,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_KEYS_MAX,
    VALUE_BYTES_MAX,
    Append,
    Delete,
    DropFirst,
    Effect,
    Guard,
    Present,
    Put,
    Shorter,
    Transaction,
)


def of(*effects: Effect, guards: Sequence[Guard] = ()) -> Transaction:
    return Transaction(guards, effects)


AT_THE_LIMIT = [
    of(Put("k" * KEY_BYTES_MAX, bytes(VALUE_BYTES_MAX))),
    of(Put("ü" * (KEY_BYTES_MAX // 2), b"")),
    of(Append("k", bytes(VALUE_BYTES_MAX))),
    of(guards=[Guard("k", bytes(VALUE_BYTES_MAX)), Guard("k", None)]),
    of(*[Delete("k")] * TRANSACTION_KEYS_MAX),
    of(*[Put("k", bytes(VALUE_BYTES_MAX - 1))] * (TRANSACTION_BYTES_MAX // VALUE_BYTES_MAX)),
    of(Put("k", b"", expire_s=0.001), Put("k", b"", expire_s=EXPIRE_S_MAX)),
    of(DropFirst("k", 1), DropFirst("k", 2**63 - 1)),
    Transaction((), (), (Shorter("k", 1), Shorter("k", 2**63 - 1), Present("k" * KEY_BYTES_MAX))),
    of(),
]
BEYOND: list[tuple[type[Exception], Transaction]] = [
    (ValueTooLarge, of(Put("k" * (KEY_BYTES_MAX + 1), b""))),
    (ValueTooLarge, of(Put("ü" * (KEY_BYTES_MAX // 2) + "k", b""))),
    (ValueTooLarge, of(Put("k", bytes(VALUE_BYTES_MAX + 1)))),
    (ValueTooLarge, of(Append("k", bytes(VALUE_BYTES_MAX + 1)))),
    (ValueTooLarge, of(guards=[Guard("k", bytes(VALUE_BYTES_MAX + 1))])),
    (ValueTooLarge, of(*[Delete("k")] * TRANSACTION_KEYS_MAX, guards=[Guard("k", None)])),
    (ValueTooLarge, of(*[Put("k", bytes(VALUE_BYTES_MAX))] * (TRANSACTION_BYTES_MAX // VALUE_BYTES_MAX))),
    (InvalidKey, of(Put("", b""))),
    (InvalidKey, of(Delete("a\0b"))),
    (InvalidKey, of(Delete("\ud800"))),
    (InvalidKey, of(guards=[Guard("", None)])),
    (InvalidKey, of(Delete(b"bytes"))),  # pyright: ignore[reportArgumentType] - what an unchecked caller does
    (TypeError, of(Put("k", bytearray(b"v")))),  # pyright: ignore[reportArgumentType] - what an unchecked caller does
    (TypeError, of(Put("k", "v"))),  # pyright: ignore[reportArgumentType] - what an unchecked caller does
    (TypeError, of(Guard("k", b""))),  # pyright: ignore[reportArgumentType] - what an unchecked caller does
    (ValueError, of(Put("k", b"", expire_s=0))),
    (ValueError, of(Put("k", b"", expire_s=0.0009))),
    (ValueError, of(Put("k", b"", expire_s=math.nan))),
    (ValueError, of(Put("k", b"", expire_s=EXPIRE_S_MAX + 1))),
    (ValueError, of(DropFirst("k", 0))),
    (ValueError, of(DropFirst("k", 2**63))),
    (ValueError, Transaction((), (), (Shorter("k", 0),))),
    (ValueError, Transaction((), (), (Shorter("k", 2**63),))),
    (InvalidKey, Transaction((), (), (Present(""),))),
    (ValueTooLarge, Transaction((), (), [Present("k" * (KEY_BYTES_MAX + 1))])),
    (ValueTooLarge, Transaction((), [Delete("k")] * TRANSACTION_KEYS_MAX, (Present("k"),))),
    (TypeError, Transaction((), (), (Guard("k", None),))),  # pyright: ignore[reportArgumentType] - an unchecked caller
]


@pytest.mark.parametrize("transaction", AT_THE_LIMIT)
def test_what_is_exactly_at_a_limit_passes(transaction: Transaction) -> None:
    check_transactions([transaction])
    check_transactions([of(Put("other", b""))] * 1000 + [transaction])


@pytest.mark.parametrize(("error", "transaction"), BEYOND)
def test_what_is_just_beyond_a_limit_is_refused_wherever_it_stands(
    error: type[Exception], transaction: Transaction
) -> None:
    for batch in ([transaction], [of(Put("other", b""))] * 1000 + [transaction]):
        with pytest.raises(error):
            check_transactions(batch)


def test_a_batch_may_be_larger_than_a_transaction() -> None:
    check_transactions([of(Put("k", bytes(VALUE_BYTES_MAX)))] * 20)
    check_transactions([of(*[Delete("k")] * 100)] * 20)


def test_a_refusal_names_the_key() -> None:
    with pytest.raises(ValueTooLarge, match="'player:7'"):
        check_transactions([of(Put("player:6", b"")), of(Put("player:7", bytes(VALUE_BYTES_MAX + 1)))])


KEYS = st.one_of(
    st.text(max_size=4), st.sampled_from(["", "\0", "ü" * 512, "ü" * 513, "k" * 1024, "k" * 1025, "\ud800"])
)


@given(st.lists(KEYS, max_size=4))
def test_the_quick_check_of_many_keys_agrees_with_the_exact_check_of_each(keys: list[str]) -> None:
    def exact() -> set[type[Exception]]:
        errors: set[type[Exception]] = set()
        for key in keys:
            try:
                check_key(key)
            except (InvalidKey, ValueTooLarge) as error:
                errors.add(type(error))
        return errors

    expected = exact()
    if not expected:
        check_keys(keys)
        check_transactions([of(*(Delete(key) for key in keys))])
        return
    with pytest.raises(tuple(expected)):
        check_keys(keys)
    with pytest.raises(tuple(expected)):
        check_transactions([of(*(Delete(key) for key in keys))])


def test_a_usual_batch_needs_no_look_at_each(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_at_one(transaction: Transaction) -> None:
        pytest.fail(f"looked at {transaction}")

    monkeypatch.setattr(limits, "_check_transaction", look_at_one)
    check_transactions(
        [
            of(Put(f"player:{i}", bytes(768)), guards=[Guard(f"player:{i}:owner", b"town-1/5f3a/912")])
            for i in range(1000)
        ]
    )


@given(st.integers(-(2**64), 2**64))
def test_a_whole_number_is_read_as_written(number: int) -> None:
    fits = -(2**63) <= number < 2**63
    assert whole_number(str(number).encode()) == (number if fits else None)


@pytest.mark.parametrize("text", [b"", b"+1", b"01", b"-0", b"1.0", b" 1", b"1\n", b"1_0", "١".encode(), b"9" * 5000])  # noqa: RUF001 - a digit, but not of decimal text
def test_anything_but_plain_decimal_is_no_number(text: bytes) -> None:
    assert whole_number(text) is None


def test_expiries_round_to_milliseconds_and_never_to_none() -> None:
    assert [expire_ms(s) for s in (0.001, 0.0014, 0.29, 30)] == [1, 1, 290, 30_000]
