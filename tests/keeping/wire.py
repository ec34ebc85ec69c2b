"""What a server says to its store: recorded, so that a test can count it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from realmkeep.storage import Transaction, WriteOutcome
from realmkeep.testing.faulty import FaultyStorage


@dataclass
class Wire:
    """Everything that was asked and written since it was tapped."""

    batches: list[list[Transaction]] = field(default_factory=list[list[Transaction]])
    keys_read: list[str] = field(default_factory=list[str])
    in_flight: int = 0
    in_flight_max: int = 0

    @property
    def transactions(self) -> list[Transaction]:
        return [transaction for batch in self.batches for transaction in batch]

    def writes_of(self, key: str) -> list[Transaction]:
        """The transactions that put this key, in order."""
        return [each for each in self.transactions if any(effect.key == key for effect in each.effects)]


def tap(monkeypatch: pytest.MonkeyPatch, line: FaultyStorage) -> Wire:
    """Record what passes over a line from now on."""
    wire = Wire()
    write, load, load_many = line.write, line.load, line.load_many
    load_list, exists = line.load_list, line.exists

    async def tapped_write(transactions: Sequence[Transaction]) -> list[WriteOutcome]:
        wire.batches.append(list(transactions))
        wire.in_flight += 1
        wire.in_flight_max = max(wire.in_flight_max, wire.in_flight)
        try:
            return await write(transactions)
        finally:
            wire.in_flight -= 1

    async def tapped_load(key: str) -> bytes | None:
        wire.keys_read.append(key)
        return await load(key)

    async def tapped_load_many(keys: Sequence[str]) -> list[bytes | None]:
        wire.keys_read.extend(keys)
        return await load_many(keys)

    async def tapped_load_list(key: str, *, start: int = 0, count: int | None = None) -> list[bytes]:
        wire.keys_read.append(key)
        return await load_list(key, start=start, count=count)

    async def tapped_exists(key: str) -> bool:
        wire.keys_read.append(key)
        return await exists(key)

    monkeypatch.setattr(line, "write", tapped_write)
    monkeypatch.setattr(line, "load", tapped_load)
    monkeypatch.setattr(line, "load_many", tapped_load_many)
    monkeypatch.setattr(line, "load_list", tapped_load_list)
    monkeypatch.setattr(line, "exists", tapped_exists)
    return wire
