"""The semantics of a mini-transaction, for the engines whose keys Python can read itself (memory, SQLite).

Guards, needs and types are checked before the first effect, so an effect never needs undoing.
"""

from collections.abc import Sequence
from typing import Final, Protocol, TypeAlias

from realmkeep.errors import WrongType
from realmkeep.storage.limits import INCREMENT_MAX, INCREMENT_MIN, whole_number
from realmkeep.storage.protocol import (
    COMMITTED,
    AnyTransaction,
    Append,
    Delete,
    DropFirst,
    Effect,
    Extend,
    Failed,
    Need,
    Present,
    Put,
    Refused,
    WriteOutcome,
)

Shape: TypeAlias = int  # ABSENT, VALUE, or the number of entries of a list, at least 1
ABSENT: Final = 0
VALUE: Final = -1


class Contents(Protocol):
    """The keys of a store as a transaction sees them; an expired key is absent."""

    def value(self, key: str) -> bytes | None:
        """Return the value at `key`; None if it is absent.

        Raises:
            WrongType: The key holds a list.
        """
        ...

    def shape(self, key: str) -> Shape:
        """Return the shape of `key`."""
        ...

    def perform(self, effect: Put | Delete | Append | DropFirst) -> None:
        """Apply an effect; the type of its key has been checked."""
        ...

    def replace(self, key: str, value: bytes) -> None:
        """Set `key` to `value` and keep its expiry, if it has one."""
        ...


def apply(contents: Contents, transaction: AnyTransaction) -> WriteOutcome:
    """Apply `transaction` wholly or not at all."""
    try:
        for guard in transaction.guards:
            if (found := contents.value(guard.key)) != guard.expected:
                return Refused(guard, found)
        for need in transaction.needs:
            if (refused := _unmet(contents, need)) is not None:
                return refused
        _check_types(contents, transaction.effects)
    except WrongType as error:
        return Failed(error)
    for effect in transaction.effects:
        if isinstance(effect, Extend):
            _extend(contents, effect)
        else:
            contents.perform(effect)
    return COMMITTED


def add(contents: Contents, key: str, by: int) -> int:
    """Add `by` to the number at `key`, and return the sum.

    Raises:
        WrongType: The key holds no number, or the sum does not fit in 64 bits.
    """
    value = contents.value(key)
    if value is None:
        contents.perform(Put(key, str(by).encode()))
        return by
    number = whole_number(value)
    if number is None:
        raise wrong_type(key, holds="something else", wanted="a whole number")
    if not INCREMENT_MIN <= number + by <= INCREMENT_MAX:
        raise wrong_type(key, holds=f"the number {number}", wanted=f"a number to which {by} can be added in 64 bits")
    contents.replace(key, str(number + by).encode())
    return number + by


def wrong_type(key: str, *, holds: str, wanted: str) -> WrongType:
    """Make the error for a key that holds another type than the call needs."""
    return WrongType(f"{key!r} holds {holds}, not {wanted}; it was not touched", hint="delete it or use another key")


def _unmet(contents: Contents, need: Need) -> Refused | None:
    """The refusal of a need that does not hold.

    Raises:
        WrongType: Its key holds a value instead of a list.
    """
    shape = contents.shape(need.key)
    if isinstance(need, Present):
        return Refused(need, None) if shape == ABSENT else None
    if shape == VALUE:
        raise wrong_type(need.key, holds="a value", wanted="a list")
    return Refused(need, b"%d" % shape) if shape >= need.than else None


def _extend(contents: Contents, effect: Extend) -> None:
    before = contents.value(effect.key)
    if before is None:
        contents.perform(Put(effect.key, effect.value))
    else:
        contents.replace(effect.key, before + effect.value)


def _check_types(contents: Contents, effects: Sequence[Effect]) -> None:
    """Raise WrongType for the first effect whose key, after the effects before it, holds the wrong type."""
    shapes: dict[str, Shape] = {}
    for effect in effects:
        key = effect.key
        if isinstance(effect, Delete):
            shapes[key] = ABSENT
            continue
        shape = shapes[key] if key in shapes else contents.shape(key)
        if isinstance(effect, (Put, Extend)):
            if shape > 0:
                raise wrong_type(key, holds="a list", wanted="a value")
            shapes[key] = VALUE
        elif shape == VALUE:
            raise wrong_type(key, holds="a value", wanted="a list")
        else:
            shapes[key] = shape + 1 if isinstance(effect, Append) else max(ABSENT, shape - effect.count)
