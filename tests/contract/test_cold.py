"""The contract of `ColdStore`, on memory and on PostgreSQL."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from realmkeep.errors import ConfigError, StorageError, StorageUnavailable
from realmkeep.storage.cold import (
    ColdBatch,
    ColdLetter,
    ColdRow,
    ColdStore,
    MemoryColdStore,
    Stub,
    digest_of,
    open_cold_store,
)
from realmkeep.storage.cold.postgres import PostgresColdStore
from realmkeep.storage.postgres.connection import PostgresConnection
from realmkeep.testing.postgres_server import PostgresServer

BODY = b'{"version":3,"gold":7,"name":"Ada","crc":"00000000"}'
POSTGRES_ERRORS = {
    "\\u0000": b'{"a":"\\u0000"}',
    "surrogate": b'{"a":"\\ud800"}',
    "number": b'{"a":1e999999}',
    "lisp": b"(1)",
}


def row(key: str, revision: int, body: bytes | None = BODY, ops: bytes = b"") -> ColdRow:
    return ColdRow(key, revision, 0 if body is None else 3, body, ops)


@pytest.fixture(params=["memory", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return "memory://" if request.param == "memory" else request.getfixturevalue("postgres_url")


@pytest_asyncio.fixture
async def cold(url: str) -> AsyncIterator[ColdStore]:
    store = open_cold_store(url)
    await store.connect()
    yield store
    await store.disconnect()


async def one(cold: ColdStore, key: str) -> ColdRow | None:
    (found,) = await cold.rows([key])
    return found


async def test_rows_come_back_as_they_were_written(cold: ColdStore) -> None:
    rows = [
        row("player:7", 5, ops=b"op"),
        row("player:ada", 6),
        row("player:007", 7),
        row("zone:town:objects", 8, b"(x)"),
    ]
    written = await cold.write(ColdBatch(rows))
    assert written.rows == 4
    keys = [each.key for each in rows]
    assert await cold.rows([*keys, "player:8", "guild:1"]) == [*rows, None, None]
    heads = await cold.heads([*keys, "guild:1"])
    assert [None if head is None else (head.key, head.revision, head.digest) for head in heads] == [
        *((each.key, each.revision, each.digest) for each in rows),
        None,
    ]
    assert sorted([head.key async for page in cold.all_heads() for head in page]) == sorted(keys)


async def test_a_revision_only_rises(cold: ColdStore) -> None:
    for key in ("player:7", "guild:red"):
        await cold.write(ColdBatch([row(key, 5)]))
        late = await cold.write(ColdBatch([row(key, 4, b'{"old":1}'), row("player:9", 1)]))
        assert (late.rows, await one(cold, key)) == (1 if key == "player:7" else 0, row(key, 5))
        await cold.write(ColdBatch([row(key, 5, b'{"same":1}')]))
        assert await one(cold, key) == row(key, 5)
        await cold.write(ColdBatch([row(key, 5, b'{"same":1}')], repairs=True))
        assert await one(cold, key) == row(key, 5, b'{"same":1}')
        await cold.write(ColdBatch([row(key, 4, b'{"old":1}')], repairs=True))
        await cold.write(ColdBatch([row(key, 6), row(key, 7), row(key, 3)]))
        assert await one(cold, key) == row(key, 7)


async def test_a_large_batch_is_written_wholly_and_in_slices(cold: ColdStore) -> None:
    """Of each key the newest row counts, wherever it stands; other tasks get turns while the batch is put in order and packed."""
    names = [f"player:{at * 7919 % 3001}" for at in range(3001)] + [f"guild:{at}" for at in range(1000)]
    rows = [row(key, 5 + (at % 2)) for at, key in enumerate(names)]
    turns = 0

    async def play() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    game = asyncio.create_task(play())
    written = await cold.write(ColdBatch([*(row(key, 4) for key in names[:700]), *rows, row("player:7", 9)]))
    game.cancel()
    assert written.rows == 4001
    newest = {each.key: each for each in [*rows, row("player:7", 9)]}
    assert await cold.rows(names) == [newest[key] for key in names]
    assert sorted([head.key async for page in cold.all_heads() for head in page]) == sorted(names)
    if not isinstance(cold, MemoryColdStore):
        assert turns >= 4001 // 50


async def test_a_tombstone_outranks_every_earlier_revision(cold: ColdStore) -> None:
    for key in ("player:7", "guild:red"):
        await cold.write(ColdBatch([row(key, 5)]))
        await cold.write(ColdBatch([row(key, 8, None)]))
        await cold.write(ColdBatch([row(key, 7)]))
        (head,) = await cold.heads([key])
        assert head is not None
        assert (head.is_deleted, await one(cold, key)) == (True, row(key, 8, None))
        await cold.write(ColdBatch([row(key, 9)]))
        assert await one(cold, key) == row(key, 9)


async def test_an_erasure_leaves_nothing_and_keeps_a_later_revision(cold: ColdStore) -> None:
    for key in ("player:7", "guild:red"):
        await cold.write(ColdBatch([row(key, 50)], letters=[ColdLetter(f"of {key}", key, b"dear")]))
        await cold.erase(key, 40)
        assert await one(cold, key) == row(key, 50, None)
        await cold.write(ColdBatch([row(key, 49)]))
        await cold.erase(key, 60)
        assert await one(cold, key) == row(key, 60, None)
    assert await cold.unopened(0, 10) == []
    await cold.erase("player:99", 5)
    assert await one(cold, "player:99") == row("player:99", 5, None)


async def test_letters_are_kept_until_they_are_opened_also_if_they_arrive_later(cold: ColdStore) -> None:
    letters = [ColdLetter(f"letter-{at}", "player:7", b"%d" % at) for at in range(4)]
    await cold.write(ColdBatch(letters=letters[:2]))
    await cold.write(ColdBatch(letters=letters[:2], opened=["letter-0", "letter-3"]))
    await cold.write(ColdBatch(letters=letters[2:]))
    found = await cold.unopened(0, 10)
    assert [letter for _, letter in found] == letters[1:3]
    assert [letter for _, letter in await cold.unopened(found[0][0], 10)] == letters[2:3]
    assert len(await cold.unopened(0, 1)) == 1
    await cold.tidy()


async def test_a_mark_only_rises(cold: ColdStore) -> None:
    await cold.write(ColdBatch(marks={"ids": 5, "swept": 9}))
    await cold.write(ColdBatch(marks={"ids": 4, "swept": 10}))
    assert await cold.marks() == {"ids": 5, "swept": 10}


async def test_many_writers_of_the_same_rows_all_end(url: str, cold: ColdStore) -> None:
    others = [cold] if url == "memory://" else [cold, open_cold_store(url), open_cold_store(url)]
    for other in others:
        await other.connect()
    keys = [f"player:{at}" for at in range(40)] + [f"guild:{at}" for at in range(40)]
    batches = [ColdBatch([row(key, at) for key in keys[:: (-1) ** at]]) for at in range(1, 10)]
    await asyncio.gather(*(others[at % len(others)].write(batch) for at, batch in enumerate(batches)))
    assert {head.revision for head in await cold.heads(keys) if head is not None} == {9}
    for other in others[1:]:
        await other.disconnect()


async def test_a_damaged_version_does_not_stop_a_batch(cold: ColdStore) -> None:
    for key in ("player:7", "guild:red"):
        await cold.write(ColdBatch([ColdRow(key, 5, 10**17, BODY)]))
        found = await one(cold, key)
        assert found is not None
        assert found.body == BODY


@pytest.mark.parametrize("bad", POSTGRES_ERRORS.values(), ids=POSTGRES_ERRORS)
async def test_one_bad_row_does_not_stop_a_batch(bad: bytes, postgres: PostgresServer, postgres_url: str) -> None:
    cold = open_cold_store(postgres_url)
    await cold.connect()
    rows = [row(f"player:{at}", 1) for at in range(20)]
    rows[11] = row("player:11", 1, bad)
    written = await cold.write(ColdBatch(rows))
    assert (written.rows, written.unreadable) == (20, ("player:11",))
    assert await one(cold, "player:11") == rows[11]
    await cold.disconnect()
    schema = postgres_url.rpartition("%3D")[2]
    found = postgres.ask(
        "SELECT data, data_ok FROM players WHERE player_id IN (10, 11) ORDER BY player_id", schema=schema
    )
    assert found == [(json.loads(BODY), True), ({}, False)]


async def test_a_connection_that_ends_while_a_bad_row_is_sought_is_an_error_of_the_store(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold, ask = open_cold_store(postgres_url), PostgresConnection.ask
    await cold.connect()

    async def cut_off(connection: PostgresConnection, name: str, *parameters: object) -> list[tuple[Any, ...]]:
        if name == "cold_is_json":
            connection.sever()
        return await ask(connection, name, *parameters)

    monkeypatch.setattr(PostgresConnection, "ask", cut_off)
    batch = ColdBatch([row("player:1", 1, POSTGRES_ERRORS["surrogate"])])
    with pytest.raises(StorageError):
        await cold.write(batch)
    monkeypatch.undo()
    assert (await cold.write(batch)).unreadable == ("player:1",)
    await cold.disconnect()


async def test_a_batch_under_way_is_written_before_the_store_closes(cold: ColdStore) -> None:
    writing = asyncio.create_task(cold.write(ColdBatch([row(f"player:{at}", 1) for at in range(2000)])))
    await asyncio.sleep(0)
    await cold.disconnect()
    assert (writing.done(), (await writing).rows) == (True, 2000)
    if isinstance(cold, PostgresColdStore):
        assert cold._writer is None


async def test_a_store_that_was_cut_off_is_used_again(postgres: PostgresServer, postgres_url: str) -> None:
    cold = open_cold_store(postgres_url)
    with pytest.raises(StorageUnavailable):
        await cold.rows(["player:1"])
    await cold.connect()
    await cold.write(ColdBatch([row("player:1", 1)]))
    postgres.ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")
    for _ in range(2):
        try:
            await cold.write(ColdBatch([row("player:1", 2)]))
        except StorageError as error:
            assert error.retryable or error.outcome == "unknown"  # noqa: PT017 - the next attempt has to succeed
    assert await one(cold, "player:1") == row("player:1", 2)
    await cold.disconnect()


async def test_a_commit_survives_a_crash_of_a_database_that_would_answer_before_it_syncs(
    postgres: PostgresServer, postgres_url: str
) -> None:
    cold = open_cold_store(f"{postgres_url}%20-csynchronous_commit%3Doff")
    await cold.connect()
    assert isinstance(cold, PostgresColdStore)
    assert cold._writer is not None
    cursor = await cold._writer._driver.execute(b"SHOW synchronous_commit")
    assert await cursor.fetchone() == ("on",)
    await cold.disconnect()


async def test_memory_that_is_down_says_so() -> None:
    cold = MemoryColdStore()
    cold.is_down = True
    for call in (
        cold.connect(),
        cold.write(ColdBatch()),
        cold.rows([]),
        cold.marks(),
        cold.erase("player:1", 1),
        cold.tidy(),
    ):
        with pytest.raises(StorageUnavailable):
            await call


@pytest.mark.parametrize("url", ["redis://x", "nonsense", "postgresql://[x"])
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        open_cold_store(url)


def test_a_stub_is_small_and_only_a_stub_is_read_as_one() -> None:
    stub = Stub(1_732_371_000_123_456, digest_of(BODY, b""))
    stored = stub.encode()
    assert len(stored) == 48
    assert Stub.read(stored) == stub
    for other in (
        None,
        b"",
        BODY,
        stored + b" ",
        stored[:-1],
        b"cold/2" + stored[6:],
        stored.upper(),
        b"cold/1 0 " + stored[-24:],
    ):
        assert Stub.read(other) is None
    assert digest_of(b"a", b"b") != digest_of(b"ab", b"")
