"""A chunk of transactions as one condition and one change, for the fast path.

If every transaction of a chunk commits, the chunk as a whole compares each key once, with the value that it must have had before
the chunk, and changes each key once. A chunk that is not so simple is decided in Python, under locks.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from realmkeep.storage.limits import expire_ms
from realmkeep.storage.protocol import (
    AnyTransaction,
    Append,
    Delete,
    DropFirst,
    Effect,
    Extend,
    Guard,
    Put,
)

TOMBSTONE_US: Final = 3600 * 1_000_000  # an absent key keeps its row for an hour: longer than any transaction takes


@dataclass(slots=True)
class NetChunk:
    """The net guards and changes of a chunk.

    Attributes:
        expected: The value of each guarded key before the chunk; None: absent.
        changed: For each key that a put or a deletion changes, its value after the chunk (None: absent) and the microseconds
            after which its row is gone (None: never).
        extended: For each key whose value gets longer, the addition.
        appended: For each list, its new entries.
    """

    expected: dict[str, bytes | None] = field(default_factory=dict[str, bytes | None])
    changed: dict[str, tuple[bytes | None, int | None]] = field(
        default_factory=dict[str, tuple[bytes | None, int | None]]
    )
    extended: dict[str, bytes] = field(default_factory=dict[str, bytes])
    appended: dict[str, list[bytes]] = field(default_factory=dict[str, list[bytes]])


def fold(transactions: Sequence[AnyTransaction]) -> NetChunk | None:
    """Return the chunk as one condition and one change; None if that depends on what the store holds."""
    net = NetChunk()
    for transaction in transactions:
        if transaction.needs:
            return None
        for guard in transaction.guards:
            if not _compare(net, guard):
                return None
        for effect in transaction.effects:
            if not _change(net, effect):
                return None
    for key, expected in net.expected.items():
        if expected is None:  # absence has no row to lock: its row is written, so that two who found it absent collide
            net.changed.setdefault(key, (None, TOMBSTONE_US))
    return net


def _compare(net: NetChunk, guard: Guard) -> bool:
    """Take a guard in; False if it depends on the store, or does not hold."""
    key = guard.key
    if key in net.changed:
        return net.changed[key][0] == guard.expected
    if key in net.appended or key in net.extended:
        return False
    return net.expected.setdefault(key, guard.expected) == guard.expected


def _change(net: NetChunk, effect: Effect) -> bool:
    """Take an effect in; False if it depends on the store."""
    key = effect.key
    if isinstance(effect, Append):
        if key in net.changed or key in net.expected or key in net.extended:
            return False
        net.appended.setdefault(key, []).append(effect.value)
        return True
    if key in net.appended or isinstance(effect, DropFirst):
        return False
    if isinstance(effect, Extend):
        return _extend(net, effect)
    net.extended.pop(key, None)
    if isinstance(effect, Put):
        lasts_us = None if effect.expire_s is None else expire_ms(effect.expire_s) * 1000
        net.changed[key] = (effect.value, lasts_us)
    else:
        assert isinstance(effect, Delete)
        net.changed[key] = (None, TOMBSTONE_US)
    return True


def _extend(net: NetChunk, effect: Extend) -> bool:
    """Take an addition in. The store makes it, unless the chunk itself has put the value before."""
    key = effect.key
    if key in net.changed:
        before, lasts_us = net.changed[key]
        net.changed[key] = (before + effect.value, lasts_us) if before is not None else (effect.value, None)
        return True
    if key in net.expected:
        return False
    net.extended[key] = net.extended.get(key, b"") + effect.value
    return True
