"""The rows of a chunk's keys, locked in the store, as `transact.apply` sees and changes them."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from realmkeep.storage.limits import expire_ms
from realmkeep.storage.postgres.folding import TOMBSTONE_US
from realmkeep.storage.protocol import AnyTransaction, Append, Delete, DropFirst, Put
from realmkeep.storage.transact import ABSENT, VALUE, Shape, wrong_type

StoredRow: TypeAlias = tuple[str, bytes | None, int, int, int | None]


@dataclass(slots=True)
class Row:
    """One row of `realmkeep_entry`, with the new entries of its list.

    Attributes:
        value: The value; None for a list or an absent key.
        first: The position of the list's first entry.
        next: The position after its last.
        expires_us: When the key vanishes; None: never.
        stored_first: `first` as it was read.
        added: The new entries, each with its position.
        is_changed: The row must be written.
    """

    value: bytes | None = None
    first: int = 0
    next: int = 0
    expires_us: int | None = None
    stored_first: int = 0
    added: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])
    is_changed: bool = False

    def empty(self, *, expires_us: int) -> None:
        """Make the key absent; positions go on from here."""
        self.value, self.first, self.expires_us, self.is_changed = None, self.next, expires_us, True


class LockedRows:
    """The `Contents` of a chunk.

    Args:
        keys: Every key of the chunk.
        stored: The rows that were found, as `lock.sql` returns them.
        now_us: The server's time; expiries use it.
        are_locked: The store has locked the rows. Where it has not, each is written, because only two writes collide.
    """

    def __init__(self, keys: Iterable[str], stored: Sequence[StoredRow], now_us: int, *, are_locked: bool) -> None:
        self._now_us = now_us
        self._rows = {key: Row(is_changed=True, expires_us=now_us + TOMBSTONE_US) for key in keys}  # absent until found
        for key, value, first, after_last, expires_us in stored:
            self._rows[key] = Row(value, first, after_last, expires_us, first, is_changed=not are_locked)

    def value(self, key: str) -> bytes | None:
        """Return the value at `key`; None if it is absent.

        Raises:
            WrongType: The key holds a list.
        """
        row = self._live(key)
        if row.next > row.first:
            raise wrong_type(key, holds="a list", wanted="a value")
        return row.value

    def shape(self, key: str) -> Shape:
        """Return the shape of `key`."""
        row = self._live(key)
        if row.value is not None:
            return VALUE
        return row.next - row.first or ABSENT

    def perform(self, effect: Put | Delete | Append | DropFirst) -> None:
        """Apply an effect; the type of its key has been checked."""
        row = self._live(effect.key)
        row.is_changed = True
        if isinstance(effect, Put):
            lasts = effect.expire_s
            row.value = effect.value
            row.expires_us = None if lasts is None else self._now_us + expire_ms(lasts) * 1000
        elif isinstance(effect, Append):
            row.value, row.expires_us = None, None
            row.added.append((row.next, effect.value))
            row.next += 1
        elif isinstance(effect, Delete):
            row.empty(expires_us=self._now_us + TOMBSTONE_US)
        else:
            row.first = min(row.first + effect.count, row.next)
            if row.first == row.next:
                row.empty(expires_us=self._now_us + TOMBSTONE_US)

    def replace(self, key: str, value: bytes) -> None:
        """Set `key` to `value` and keep its expiry, if it has one."""
        row = self._live(key)
        row.value, row.is_changed = value, True

    def remove(self, key: str) -> bool:
        """Remove `key`; True if it existed."""
        existed = self.shape(key) != ABSENT
        self.perform(Delete(key))
        return existed

    def changed(self) -> list[tuple[str, Row]]:
        """Return the rows to write, in the order of their keys."""
        return [(key, row) for key, row in sorted(self._rows.items()) if row.is_changed]

    def dropped(self) -> list[tuple[str, int]]:
        """Return the lists that lost their first entries, each with its new first position."""
        return [(key, row.first) for key, row in self._rows.items() if row.first > row.stored_first]

    def added(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield the new entries of lists, with their positions."""
        for key, row in self._rows.items():
            for position, value in row.added:
                if position >= row.first:  # else it was dropped again
                    yield key, position, value

    def _live(self, key: str) -> Row:
        row = self._rows[key]
        if row.value is not None and row.expires_us is not None and row.expires_us <= self._now_us:
            row.value = None
        return row


def keys_of(transactions: Iterable[AnyTransaction]) -> list[str]:
    """Return every key of the transactions, once, in order."""
    return sorted(
        {part.key for each in transactions for parts in (each.guards, each.needs, each.effects) for part in parts}
    )
