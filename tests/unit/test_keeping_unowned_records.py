"""Unowned records: compare-and-set, lost answers, unreadable bytes."""

import asyncio
from collections.abc import Awaitable

import pytest

from realmkeep.errors import (
    AlreadyExists,
    InvalidKey,
    OutcomeUnknown,
    Quarantined,
    StorageError,
    StorageFull,
    StorageMisconfigured,
    StorageUnavailable,
    Unstorable,
)
from realmkeep.keeping.unowned_records import RESOLVE_S, UnownedRecords, new_record
from realmkeep.keys import record_keys
from realmkeep.records.fields import durable
from realmkeep.records.record import Record
from realmkeep.storage import Append, Guard, Put
from realmkeep.storage.memory import MemoryStorage, MemoryStore
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import LOSE_REPLY, LOSE_REQUEST, Fault, FaultyStorage, duplicate, late, reject


class Note(Record, kind="unowned-note", version=2):
    text: str = durable()
    stars: int = durable(default=0, ge=0)


@Note.migration(1)
def _(plain: dict[str, object]) -> dict[str, object]:
    return {"text": plain["words"], **{key: value for key, value in plain.items() if key != "words"}}


KEY = "unowned-note:7"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
async def storage(store: MemoryStore, clock: FakeClock) -> FaultyStorage:
    storage = FaultyStorage(MemoryStorage(store, clock=clock), clock=clock)
    await storage.connect()
    return storage


@pytest.fixture
def unowned(storage: FaultyStorage, clock: FakeClock) -> UnownedRecords[Note]:
    return UnownedRecords(Note, storage, clock=clock)


async def in_time(clock: FakeClock, call: Awaitable[bool]) -> bool:
    """What `call` returns, while the clock runs."""
    task = asyncio.ensure_future(call)
    while not task.done():
        await clock.advance(0.01)
    return await task


async def test_what_is_made_is_read_replaced_and_removed(unowned: UnownedRecords[Note], store: MemoryStore) -> None:
    assert await unowned.get(7) is None
    assert await unowned.create(7, Note(text="a"))
    found = await unowned.get("7")
    assert found is not None
    assert found.record.text == "a"
    assert found.stored == store.value(KEY)
    found.record.text = "b"
    assert await unowned.replace(7, found, found.record)
    again = await unowned.get(7)
    assert again is not None
    assert again.record.text == "b"
    assert await unowned.remove(7, again)
    assert await unowned.get(7) is None


async def test_a_change_of_what_somebody_else_changed_does_not_happen(unowned: UnownedRecords[Note]) -> None:
    assert await unowned.create(7, Note(text="a"))
    assert not await unowned.create(7, Note(text="x"))
    mine, theirs = await unowned.get(7), await unowned.get(7)
    assert mine is not None
    assert theirs is not None
    assert await unowned.replace(7, theirs, Note(text="theirs"))
    assert not await unowned.replace(7, mine, Note(text="mine"))
    assert not await unowned.remove(7, mine)
    found = await unowned.get(7)
    assert found is not None
    assert found.record.text == "theirs"


async def test_of_many_who_count_at_once_every_count_is_kept(unowned: UnownedRecords[Note]) -> None:
    assert await unowned.create(7, Note(text="a"))

    async def count() -> None:
        while True:
            found = await unowned.get(7)
            assert found is not None
            found.record.stars += 1
            if await unowned.replace(7, found, found.record):
                return

    await asyncio.gather(*(count() for _ in range(20)))
    found = await unowned.get(7)
    assert found is not None
    assert found.record.stars == 20


async def test_the_same_transaction_carries_more(unowned: UnownedRecords[Note], store: MemoryStore) -> None:
    assert await unowned.create(7, Note(text="a"), Guard("other", None), Put("other", b"1"), Append("log", b"made"))
    assert store.value("other") == b"1"
    with pytest.raises(AlreadyExists, match="other"):
        await unowned.create(8, Note(text="b"), Guard("other", None), Append("log", b"again"))
    found = await unowned.get(7)
    assert found is not None
    with pytest.raises(AlreadyExists, match="other"):
        await unowned.remove(7, found, Guard("other", b"2"))
    assert await unowned.get(8) is None
    assert await unowned.get(7) is not None


async def test_an_owned_record_is_made_with_its_companions(unowned: UnownedRecords[Note], store: MemoryStore) -> None:
    assert await unowned.create(7, Note(text="a"), *new_record(Note(text="owned"), 8, now_us=5))
    keys = record_keys("unowned-note", 8)
    assert (store.value(keys.version), store.value(keys.updated), store.value(keys.owner)) == (b"2", b"5", None)
    found = await unowned.get(8)
    assert found is not None
    assert found.record.text == "owned"
    with pytest.raises(AlreadyExists):
        await unowned.create(9, Note(text="a"), *new_record(Note(text="owned"), 8, now_us=6))


async def test_an_older_version_is_migrated_and_replaced_by_its_own_bytes(
    unowned: UnownedRecords[Note], store: MemoryStore
) -> None:
    store.restore(({KEY: b'(:version 1 :words "old" :stars 3)'}, {}))
    found = await unowned.get(7)
    assert found is not None
    assert (found.record.text, found.record.stars) == ("old", 3)
    assert await unowned.replace(7, found, found.record)
    assert (store.value(KEY) or b"").startswith(b'{"version":2,')


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"garbage",
        b'{"version":2,"text":"a","crc":"00000000"}',
        b'(:version 3 :text "a")',
        b'(:version 2 :text "a" :stars -1)',
    ],
)
async def test_what_cannot_be_used_is_an_error_and_stays(
    unowned: UnownedRecords[Note], store: MemoryStore, stored: bytes
) -> None:
    store.restore(({KEY: stored}, {}))
    with pytest.raises(Quarantined, match=KEY):
        await unowned.get(7)
    assert not await unowned.create(7, Note(text="new"))
    assert store.value(KEY) == stored


LOST = [LOSE_REQUEST, LOSE_REPLY, late(0.01), late(3), duplicate(0.01), duplicate(3)]


@pytest.mark.parametrize("faults", [[a, *b] for a in LOST for b in ([], [LOSE_REPLY], [LOSE_REQUEST, reject()])])
async def test_a_lost_answer_is_looked_for_and_nothing_happens_twice(
    unowned: UnownedRecords[Note], storage: FaultyStorage, clock: FakeClock, faults: list[Fault]
) -> None:
    storage.script("write", *faults)
    assert await in_time(clock, unowned.create(7, Note(text="a"), Append("log", b"create")))
    await clock.advance(10)
    found = await unowned.get(7)
    assert found is not None
    storage.script("write", *faults)
    assert await in_time(clock, unowned.replace(7, found, Note(text="b"), Append("log", b"replace")))
    await clock.advance(10)
    found = await unowned.get(7)
    assert found is not None
    assert found.record.text == "b"
    storage.script("write", *faults)
    assert await in_time(clock, unowned.remove(7, found, Append("log", b"remove")))
    await clock.advance(10)
    assert await unowned.get(7) is None
    assert await storage.load_list("log") == [b"create", b"replace", b"remove"]


async def test_a_lost_answer_to_a_refused_write_is_no_success(
    unowned: UnownedRecords[Note], storage: FaultyStorage, clock: FakeClock
) -> None:
    assert await unowned.create(7, Note(text="theirs"))
    storage.script("write", LOSE_REPLY)
    assert not await in_time(clock, unowned.create(7, Note(text="mine")))


async def test_an_answer_that_stays_lost_is_unknown_after_a_while(
    unowned: UnownedRecords[Note], storage: FaultyStorage, clock: FakeClock
) -> None:
    storage.script("write", LOSE_REPLY, *[LOSE_REQUEST] * 100)
    started_s = clock.monotonic_s()
    with pytest.raises(OutcomeUnknown, match=KEY):
        await in_time(clock, unowned.create(7, Note(text="a")))
    assert RESOLVE_S <= clock.monotonic_s() - started_s < 3 * RESOLVE_S
    assert await unowned.get(7) is not None


async def test_a_refusal_after_a_lost_answer_does_not_say_that_nothing_happened(
    unowned: UnownedRecords[Note], storage: FaultyStorage, clock: FakeClock
) -> None:
    storage.script("write", LOSE_REPLY, reject(StorageMisconfigured("another version by now")))
    with pytest.raises(OutcomeUnknown, match=KEY):
        await in_time(clock, unowned.create(7, Note(text="a")))
    assert await unowned.get(7) is not None


@pytest.mark.parametrize("error", [StorageUnavailable("away"), StorageFull("full")])
async def test_what_the_store_did_not_execute_is_its_own_error(
    unowned: UnownedRecords[Note], storage: FaultyStorage, error: StorageError
) -> None:
    storage.script("write", reject(error))
    with pytest.raises(type(error)) as caught:
        await unowned.create(7, Note(text="a"))
    assert caught.value is error
    assert await unowned.get(7) is None


async def test_a_store_that_is_away_is_not_an_absent_record(
    unowned: UnownedRecords[Note], storage: FaultyStorage
) -> None:
    storage.script("load", reject())
    with pytest.raises(StorageUnavailable):
        await unowned.get(7)


async def test_what_cannot_be_stored_is_refused_before_anything_is_sent(
    unowned: UnownedRecords[Note], storage: FaultyStorage
) -> None:
    with pytest.raises(Unstorable):
        await unowned.create(7, Note(text="\ud800"))
    with pytest.raises(InvalidKey):
        await unowned.create("a:b", Note(text="a"))
    assert storage.calls["write"] == 0
