"""The script and the packing of chunks on a real Valkey, against the memory store, for whole chunks of transactions."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from realmkeep.errors import WrongType
from realmkeep.storage import (
    Advance,
    Append,
    Delete,
    DropFirst,
    Failed,
    Guard,
    OwnedKeys,
    Present,
    Put,
    Shorter,
    Step,
    Storage,
    Transaction,
    WriteOutcome,
    open_storage,
)
from realmkeep.storage.memory import MemoryStorage
from realmkeep.storage.protocol import COMMITTED
from realmkeep.storage.redis_chunk import SHORT_BYTES_MAX
from realmkeep.testing.servers import StoreServer

pytestmark = pytest.mark.backend("valkey")

LONG = b"x" * (SHORT_BYTES_MAX + 1)
KEYS = st.sampled_from(["a", "b", "c", "d", "ä"])
VALUES = st.sampled_from([b"", b"1", LONG, b"\0 \r\n"])
GUARDS = st.builds(Guard, KEYS, st.none() | VALUES)
NEEDS = st.one_of(st.builds(Present, KEYS), st.builds(Shorter, KEYS, st.integers(1, 3)))
PUTS = st.builds(Put, KEYS, VALUES)
EFFECTS = st.one_of(
    PUTS,
    PUTS,
    st.builds(Put, KEYS, VALUES, st.just(3600.0)),
    st.builds(Delete, KEYS),
    st.builds(Append, KEYS, VALUES),
    st.builds(DropFirst, KEYS, st.integers(1, 2)),
)
PLAIN = st.lists(
    st.builds(
        Transaction,
        st.lists(GUARDS, max_size=2),
        st.lists(PUTS | st.builds(Append, st.just("list") | KEYS, VALUES), max_size=3),
    ),
    max_size=8,
)
MIXED = st.lists(
    st.builds(
        Transaction,
        st.lists(GUARDS, max_size=3),
        st.lists(EFFECTS, max_size=5),
        st.just(()) | st.lists(NEEDS, max_size=2),
    ),
    max_size=8,
)
PUT_ALL = [Transaction((), (Put(key, b"1"),)) for key in "abcd"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    with StoreServer(tmp_path_factory.mktemp("script"), fsync="everysec") as server:
        yield server


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def storage(server: StoreServer, runner: asyncio.Runner) -> Iterator[Storage]:
    storage = open_storage(server.url)
    runner.run(storage.connect())
    yield storage
    runner.run(storage.disconnect())


def comparable(outcomes: Sequence[WriteOutcome]) -> list[object]:
    return [
        "wrong type" if isinstance(each, Failed) and isinstance(each.error, WrongType) else each for each in outcomes
    ]


async def everything(storage: Storage) -> dict[str, object]:
    held: dict[str, object] = {}
    async for key in storage.keys():
        try:
            held[key] = await storage.load(key)
        except WrongType:
            held[key] = await storage.load_list(key)
    return held


async def compare(storage: Storage, batches: Sequence[Sequence[Transaction]]) -> None:
    model = MemoryStorage()
    await model.connect()
    for batch in batches:
        assert comparable(await storage.write(batch)) == comparable(await model.write(batch))
    assert await everything(storage) == await everything(model)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.one_of(PLAIN, MIXED), min_size=1, max_size=3), filled=st.booleans())
def test_a_chunk_does_what_the_memory_store_does(
    server: StoreServer, storage: Storage, runner: asyncio.Runner, batches: list[list[Transaction]], filled: bool
) -> None:
    assert server.ask("FLUSHALL") == b"OK"
    runner.run(compare(storage, [PUT_ALL, *batches] if filled else batches))


def test_a_guard_on_what_the_chunk_itself_puts_sees_it(
    server: StoreServer, storage: Storage, runner: asyncio.Runner
) -> None:
    """Each of these would be taken for independent by its guards alone: the store holds what they expect."""
    assert server.ask("FLUSHALL") == b"OK"
    chained = [Transaction((), (Put("a", b"2"),)), Transaction((Guard("a", b"1"),), (Put("b", b"2"),))]
    swapped = [Transaction((Guard("c", b"1"),), (Put("c", b"2"),)), Transaction((Guard("c", b"1"),), (Put("d", b"2"),))]
    twice = [Transaction((), (Put("a", LONG), Put("b", b"3"))), Transaction((), (Put("b", LONG), Put("a", b"3")))]
    same = [Transaction((Guard("b", LONG),), (Put("b", b"x"), Put("b", b"y"), Put("b", b"x")))]
    runner.run(compare(storage, [PUT_ALL, chained, swapped, twice, same]))


def test_the_entries_of_a_chunk_are_one_command(server: StoreServer, storage: Storage, runner: asyncio.Runner) -> None:
    """A chunk of advances stays on the fast way of the script although all of them append to one list."""
    assert server.ask("FLUSHALL") == b"OK"
    owned = [OwnedKeys(f"p:{n}", f"p:{n}:updated", f"p:{n}:owner", f"p:{n}:ops", b"us") for n in range(20)]
    made = [Transaction((), (Put(of.updated, b"1"), Put(of.owner, b"us"))) for of in owned]
    runner.run(storage.write(made))
    assert server.ask("CONFIG", "RESETSTAT") == b"OK"
    advances = [Advance((Step(of, 1, 2, LONG, b"l"),), Append("list", b"%d" % n)) for n, of in enumerate(owned)]
    assert runner.run(storage.write(advances)) == [COMMITTED] * len(owned)
    stats = server.ask("INFO", "commandstats")
    assert isinstance(stats, bytes)
    assert b"cmdstat_rpush:calls=1," in stats
    assert b"cmdstat_mset:calls=1," in stats
    assert runner.run(storage.load_list("list")) == [b"%d" % n for n in range(20)]
