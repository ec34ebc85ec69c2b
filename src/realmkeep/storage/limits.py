"""The limits of a call to a store: one check for all backends, before any part of the call is sent.

A batch is checked as a whole first, with a few passes that run in C: no key of a batch is longer than the longest, no
transaction larger than all together. Only a batch that fails this is checked one by one.
"""

import re
from collections.abc import Sequence
from typing import Final

from realmkeep.errors import InvalidKey, ValueTooLarge
from realmkeep.storage.protocol import (
    EXPIRE_S_MAX,
    EXPIRE_S_MIN,
    KEY_BYTES_MAX,
    STEP_OPERATIONS,
    TRANSACTION_BYTES_MAX,
    TRANSACTION_KEYS_MAX,
    VALUE_BYTES_MAX,
    Advance,
    AnyTransaction,
    Append,
    Delete,
    DropFirst,
    Effect,
    Extend,
    Guard,
    Need,
    Present,
    Put,
    Shorter,
)

INCREMENT_MIN: Final = -(1 << 63)  # counters are 64-bit signed in every engine
INCREMENT_MAX: Final = (1 << 63) - 1

_ONLY_STR: Final = {str}
_ONLY_BYTES: Final = {bytes}
_NUMBER_BYTES_MAX: Final = len(str(INCREMENT_MIN))
_WHOLE_NUMBER = re.compile(rb"0|-?[1-9][0-9]*")  # Redis's form: no plus sign, no leading zeros


def check_transactions(transactions: Sequence[AnyTransaction]) -> None:
    """Return if every transaction is within the limits of the protocol.

    Raises:
        InvalidKey: A key is empty, has a NUL, or is not text.
        ValueTooLarge: A key, value or transaction exceeds the limits.
        TypeError: A value is not `bytes`, or an effect or a need is of another class.
        ValueError: An expiry, a count or a length is out of range.
    """
    keys: list[str] = []
    values: list[bytes] = []
    for transaction in transactions:
        if type(transaction) is Advance:
            values += _advance_values(transaction)
            continue
        guards, effects, needs = transaction.guards, transaction.effects, transaction.needs
        if len(guards) + len(effects) + len(needs) > TRANSACTION_KEYS_MAX:
            _check_transaction(transaction)
        if needs:
            _check_needs(needs, keys)
        keys += [guard.key for guard in guards]
        values += [guard.expected for guard in guards if guard.expected is not None]
        for effect in effects:
            keys.append(effect.key)
            if isinstance(effect, Put) and effect.expire_s is None:
                values.append(effect.value)
            else:
                _check_other_effect(effect, values)
    if not _surely_within_limits(keys, values):
        for transaction in transactions:
            _check_transaction(transaction)


def _advance_values(advance: Advance) -> list[bytes]:
    """The values of an advance. Its keys are checked, and its other parts are short."""
    if len(advance.steps) * STEP_OPERATIONS >= TRANSACTION_KEYS_MAX:
        _check_transaction(advance)
    stored = [step.stored for step in advance.steps]
    return stored if advance.entry is None else [*stored, advance.entry.value]


def check_key(key: str) -> None:
    """Return if `key` may be used.

    Raises:
        InvalidKey: It is empty, has a NUL, or is not text.
        ValueTooLarge: It has more than `KEY_BYTES_MAX` UTF-8 bytes.
    """
    if not isinstance(key, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise InvalidKey(f"a key must be text, not {type(key).__name__}", hint="see realmkeep.keys for the schema")
    if not key or "\0" in key:
        raise InvalidKey(f"key {key!r} is empty or has a NUL", hint="see realmkeep.keys for the schema")
    if len(key) * 4 > KEY_BYTES_MAX or not key.isascii():
        try:
            size = len(key.encode())
        except UnicodeEncodeError:
            raise InvalidKey(f"key {key!r} has a lone surrogate", hint="use text that UTF-8 can encode") from None
        if size > KEY_BYTES_MAX:
            raise ValueTooLarge(
                f"key {key[:80]!r}... has {size:,} bytes", hint=f"a key has at most {KEY_BYTES_MAX:,} bytes"
            )


def check_keys(keys: Sequence[str]) -> None:
    """Return if all of `keys` may be used.

    Raises:
        InvalidKey: One is empty, has a NUL, or is not text.
        ValueTooLarge: One has more than `KEY_BYTES_MAX` UTF-8 bytes.
    """
    if not _surely_within_limits(keys, ()):
        for key in keys:
            check_key(key)


def check_value(key: str, value: bytes) -> None:
    """Return if `value` may be stored at `key`.

    Raises:
        ValueTooLarge: It has more than `VALUE_BYTES_MAX` bytes.
        TypeError: It is not `bytes`.
    """
    if not isinstance(value, bytes):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise TypeError(f"the value of {key!r} must be bytes, not {type(value).__name__}")
    if len(value) > VALUE_BYTES_MAX:
        raise ValueTooLarge(
            f"the value of {key!r} has {len(value):,} bytes",
            hint=f"a value has at most {VALUE_BYTES_MAX:,} bytes; split it over several keys",
        )


def check_increment(key: str, by: int) -> None:
    """Return if `key` may be incremented by `by`.

    Raises:
        InvalidKey: The key is empty, has a NUL, or is not text.
        ValueTooLarge: `by` does not fit in 64 bits, or the key is too long.
    """
    check_key(key)
    if not INCREMENT_MIN <= by <= INCREMENT_MAX:
        raise ValueTooLarge(f"{key!r} cannot be incremented by {by}", hint="a 64-bit signed number is the limit")


def check_range(key: str, start: int, count: int | None) -> None:
    """Return if a list read may start at `start` and return `count` entries.

    Raises:
        InvalidKey: The key is empty, has a NUL, or is not text.
        ValueTooLarge: The key is too long.
        ValueError: `start` or `count` is negative.
    """
    check_key(key)
    if start < 0 or (count is not None and count < 0):
        raise ValueError(f"the list at {key!r} cannot be read from {start}, {count} long: neither may be negative")


def expire_ms(expire_s: float) -> int:
    """Return an expiry in whole milliseconds, the unit of all stores."""
    return max(1, round(expire_s * 1000))


def whole_number(value: bytes) -> int | None:
    """Return the 64-bit number that `value` spells in decimal; None if it spells none."""
    if len(value) > _NUMBER_BYTES_MAX or not _WHOLE_NUMBER.fullmatch(value):
        return None
    number = int(value)
    return number if INCREMENT_MIN <= number <= INCREMENT_MAX else None


def _surely_within_limits(keys: Sequence[str], values: Sequence[bytes]) -> bool:
    if not set(map(type, keys)) <= _ONLY_STR or not set(map(type, values)) <= _ONLY_BYTES:
        return False
    together = "".join(keys)
    return (
        together.isascii()
        and "\0" not in together
        and min(map(len, keys), default=1) > 0
        and max(map(len, keys), default=0) <= KEY_BYTES_MAX
        and max(map(len, values), default=0) <= VALUE_BYTES_MAX
        and len(together) + sum(map(len, values)) <= TRANSACTION_BYTES_MAX
    )


def _check_transaction(transaction: AnyTransaction) -> None:
    """Check one transaction exactly, so that the error names its fault."""
    parts: list[Guard | Need | Effect] = [*transaction.guards, *transaction.needs, *transaction.effects]
    if len(parts) > TRANSACTION_KEYS_MAX:
        raise ValueTooLarge(
            f"a transaction has {len(parts):,} guards, needs and effects, the first for {parts[0].key!r}",
            hint=f"at most {TRANSACTION_KEYS_MAX:,}; split it",
        )
    size = 0
    for part in parts:
        check_key(part.key)
        size += len(part.key.encode())
        value = (
            part.expected
            if isinstance(part, Guard)
            else part.value
            if isinstance(part, (Put, Extend, Append))
            else None
        )
        if value is not None:
            check_value(part.key, value)
            size += len(value)
    if size > TRANSACTION_BYTES_MAX:
        raise ValueTooLarge(
            f"a transaction has {size:,} bytes, the first part for {parts[0].key!r}",
            hint=f"at most {TRANSACTION_BYTES_MAX:,}; split it",
        )


def _check_needs(needs: Sequence[Need], keys: list[str]) -> None:
    for need in needs:
        keys.append(need.key)
        if isinstance(need, Shorter):
            if not 1 <= need.than <= INCREMENT_MAX:
                raise ValueError(f"no list at {need.key!r} is shorter than {need.than}: than must be at least 1")
        elif not isinstance(need, Present):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
            raise TypeError(f"a need is Present or Shorter, not {type(need).__name__}")


def _check_other_effect(effect: Effect, values: list[bytes]) -> None:
    if isinstance(effect, (Put, Extend, Append)):
        values.append(effect.value)
        expire_s = effect.expire_s if isinstance(effect, Put) else None
        if expire_s is not None and not EXPIRE_S_MIN <= expire_s <= EXPIRE_S_MAX:  # NaN fails too
            raise ValueError(f"{effect.key!r} cannot expire in {expire_s} s: {EXPIRE_S_MIN} to {EXPIRE_S_MAX:,} s")
    elif isinstance(effect, DropFirst):
        if not 1 <= effect.count <= INCREMENT_MAX:
            raise ValueError(f"{effect.count} entries cannot be dropped from {effect.key!r}: at least 1")
    elif not isinstance(effect, Delete):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise TypeError(f"an effect is Put, Extend, Delete, Append or DropFirst, not {type(effect).__name__}")
