"""The append-only file, cut or with a flipped bit: a transaction is in it wholly or not at all, and damage is found."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from realmkeep.errors import RecordError
from realmkeep.records import Record, durable, encode, load
from realmkeep.storage import Append, Committed, Delete, DropFirst, Guard, Put, Transaction, open_storage
from realmkeep.testing.servers import StoreServer

pytestmark = pytest.mark.backend("valkey")

QUIET = 'save ""\naof-load-truncated yes\n'
KEYS = ("a", "b", "gone", "soon")
LISTS = ("in", "out")
BEFORE = Transaction((), (Put("a", b"0"), Put("gone", b"g"), Append("out", b"1"), Append("out", b"2")))
LAST = Transaction(  # every kind of effect, so that the store writes a group of commands and not just one
    (Guard("a", b"0"),),
    (
        Put("a", b"1"),
        Put("b", b"1"),
        Delete("gone"),
        Put("soon", b"s", expire_s=3600),
        Append("in", b"x"),
        DropFirst("out", 1),
    ),
)


def contents_of(server: StoreServer) -> str:
    return repr([server.ask("MGET", *KEYS), *[server.ask("LRANGE", key, 0, -1) for key in LISTS]])


def incremental_file(directory: Path) -> Path:
    (path,) = (directory / "appendonlydir").glob("*.incr.aof")
    return path


async def written(server: StoreServer, transaction: Transaction) -> tuple[Path, int, bytes]:
    """The file after `BEFORE` and `transaction`, how long it was before the latter, and all of it."""
    storage = open_storage(server.url)
    await storage.connect()
    assert await storage.write([BEFORE]) == [Committed()]
    path = incremental_file(server.directory)
    size_before = path.stat().st_size
    assert await storage.write([transaction]) == [Committed()]
    await storage.disconnect()
    await asyncio.to_thread(server.kill)
    return path, size_before, path.read_bytes()


def outcomes_of_every_cut(server: StoreServer, path: Path, size_before: int, whole: bytes) -> set[str]:
    found: set[str] = set()
    for size in range(size_before, len(whole) + 1):
        path.write_bytes(whole[:size])
        server.start()
        found.add(contents_of(server))
        server.kill()
    return found


async def test_the_file_cut_at_every_byte_of_a_transaction_has_all_of_it_or_nothing(
    tmp_path: Path, new_server: Callable[..., StoreServer]
) -> None:
    server = await asyncio.to_thread(new_server, tmp_path, extra=QUIET)
    path, size_before, whole = await written(server, LAST)
    old = [[b"0", None, b"g", None], [], [b"1", b"2"]]
    new = [[b"1", b"1", None, b"s"], [b"x"], [b"2"]]
    found = await asyncio.to_thread(outcomes_of_every_cut, server, path, size_before, whole)
    assert found == {repr(old), repr(new)}


async def test_control_two_transactions_cut_at_every_byte_leave_a_state_between_them(
    tmp_path: Path, new_server: Callable[..., StoreServer]
) -> None:
    server = await asyncio.to_thread(new_server, tmp_path, extra=QUIET)
    storage = open_storage(server.url)
    await storage.connect()
    await storage.write([BEFORE])
    path = incremental_file(tmp_path)
    size_before = path.stat().st_size
    for key in ("a", "b"):
        await storage.write([Transaction((), (Put(key, b"1"),))])
    await storage.disconnect()
    await asyncio.to_thread(server.kill)
    found = await asyncio.to_thread(outcomes_of_every_cut, server, path, size_before, path.read_bytes())
    states = [[b"0", None, b"g", None], [b"1", None, b"g", None], [b"1", b"1", b"g", None]]
    assert found == {repr([values, [], [b"1", b"2"]]) for values in states}


class Purse(Record, kind="purse-of-flipped-bits", version=1):
    xp: int = durable(default=1234)
    gold: int = durable(default=77)


async def test_the_store_loads_flipped_bits_of_a_value_and_a_checksum_finds_every_one(
    tmp_path: Path, new_server: Callable[..., StoreServer]
) -> None:
    value = encode(Purse())
    server = await asyncio.to_thread(new_server, tmp_path, extra=QUIET)
    path, _, whole = await written(server, Transaction((), (Put("record", value),)))
    at = whole.rindex(value)
    loaded = 0
    for offset in range(len(value)):
        flipped = bytearray(whole)
        flipped[at + offset] ^= 1 << offset % 8
        path.write_bytes(flipped)
        await asyncio.to_thread(server.start)
        found = await asyncio.to_thread(server.ask, "GET", "record")
        assert isinstance(found, bytes)
        assert found != value
        with pytest.raises(RecordError):
            load(found, Purse)
        loaded += 1
        await asyncio.to_thread(server.kill)
    assert loaded == len(value)  # the store itself noticed none
    assert load(value, Purse).require() == Purse()  # the control: the check does not cry wolf
