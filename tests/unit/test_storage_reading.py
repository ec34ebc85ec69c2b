"""Reads of many keys of which some hold something else."""

import pytest

from realmkeep.errors import StorageUnavailable
from realmkeep.storage import Append, Put, Transaction, load_each
from realmkeep.storage.memory import MemoryStorage
from realmkeep.storage.reading import UNREADABLE
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import FaultyStorage


@pytest.mark.parametrize("lists", [(), (0,), (7,), (99,), (3, 4, 50), tuple(range(100))])
async def test_the_others_are_read_and_each_bad_one_is_named(
    lists: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    storage = MemoryStorage()
    await storage.connect()
    names = [f"key:{number}" for number in range(100)]
    effects = [Append(name, b"x") if n in lists else Put(name, b"%d" % n) for n, name in enumerate(names) if n != 98]
    await storage.write([Transaction((), (effect,)) for effect in effects])
    found = await load_each(storage, names)
    for number, value in enumerate(found):
        wanted = None if number == 98 else UNREADABLE if number in lists else b"%d" % number
        assert value == wanted
    assert len(caplog.records) == len([number for number in lists if number != 98])


async def test_a_store_that_is_away_is_no_key_of_another_type() -> None:
    line = FaultyStorage(MemoryStorage(), clock=FakeClock())
    await line.connect()
    line.down = True
    with pytest.raises(StorageUnavailable):
        await load_each(line, ["a", "b"])
