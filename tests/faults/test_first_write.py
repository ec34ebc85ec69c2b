"""Nothing is read from a run of the store that has not answered a write: with the wheel's Valkey alone, and no compiler.

`test_durable_reads.py` shows on the disk what this is for. Here a proxy reads along. It knows two things of a store that
syncs before it answers: a write that was answered is on the disk with all that stood before it, and what a new process of the
store has read from its file is not, before that.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Self, TypeVar

import hiredis
import pytest

from realmkeep import Keeper, Op, Record, durable
from realmkeep.accounts import Account
from realmkeep.config import KeeperConfig
from realmkeep.errors import StorageError
from realmkeep.keys import SERVER_SYNCED
from realmkeep.storage import Committed, Failed, Put, Storage, Transaction, open_storage
from realmkeep.storage.redis_sync import SyncOnNewRun
from realmkeep.testing.servers import StoreServer

pytestmark = pytest.mark.backend("valkey")

T = TypeVar("T")

LIMIT_S = 60.0
READS = {b"GET", b"MGET", b"LRANGE", b"EXISTS", b"SCAN", b"TYPE"}
WRITES = {b"PEXPIRE", b"SET", b"INCRBY", b"DEL"}


class Onlooker:
    """Listens on a socket, forwards to the store's, and writes down reads from a run of it that had synced nothing yet."""

    def __init__(self, listen: Path, server: StoreServer) -> None:
        self._listen, self._server_process = listen, server
        self._synced = defaultdict[int, asyncio.Event](asyncio.Event)  # by the process that is the run
        self._tasks = set[asyncio.Task[None]]()
        self.too_early = list[bytes]()
        self.seen = Counter[bytes]()
        self.connections = 0

    @property
    def url(self) -> str:
        return f"redis+unix://{self._listen}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._accept, self._listen)
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for task in [*self._tasks]:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            from_store, to_store = await asyncio.open_unix_connection(self._server_process.socket_path)
            assert self._server_process.process
            run = self._server_process.process.pid
        except OSError:
            to_client.transport.abort()
            return
        self.connections += 1
        asked, synced = list[bytes](), self._synced[run]
        task = asyncio.ensure_future(self._requests(from_client, to_store, asked, synced))
        other = asyncio.ensure_future(self._replies(from_store, to_client, asked, synced))
        for each in (task, other):
            self._tasks.add(each)
            each.add_done_callback(self._tasks.discard)
            each.add_done_callback(lambda _: (to_client.transport.abort(), to_store.transport.abort()))

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[bytes], synced: asyncio.Event
    ) -> None:
        parser = hiredis.Reader()
        while received := await _received(reader):
            parser.feed(received)
            while (command := parser.gets()) is not False:
                name = command[0].upper()
                is_call = name == b"EVALSHA" and command[2] != b"0"  # a refusal tells what it found
                if (name in READS or is_call) and not synced.is_set():
                    self.too_early.append(name)
                self.seen[name] += 1
                asked.append(name)
            writer.write(received)

    async def _replies(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[bytes], synced: asyncio.Event
    ) -> None:
        parser = hiredis.Reader()
        while received := await _received(reader):
            parser.feed(received)
            while (reply := parser.gets()) is not False:
                name = asked.pop(0)
                changed = reply not in {0, None} if isinstance(reply, (int, bytes, type(None))) else False
                if name in WRITES and changed:
                    synced.set()
            writer.write(received)


async def _received(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(65536)
    except OSError:
        return b""


class Purse(Record, kind="purse-of-onlooker", version=1):
    gold: int = durable(default=0)


def earn(purse: Purse) -> int:
    purse.gold += 1
    return purse.gold


@pytest.fixture
async def onlooker(server: StoreServer) -> AsyncIterator[Onlooker]:
    async with Onlooker(server.socket_path.with_name("o"), server) as onlooker:
        yield onlooker


async def again(server: StoreServer) -> None:
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.start)


async def retried(call: Callable[[], Awaitable[T]]) -> T:
    """The answer, once the store serves again."""
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                return await call()
            except StorageError:
                await asyncio.sleep(0.02)


async def every_way_to_read(storage: Storage) -> None:
    await retried(lambda: storage.load("a"))
    await retried(lambda: storage.load_many(["a", "b"]))
    await retried(lambda: storage.load_list("l"))
    await retried(lambda: storage.exists("a"))
    await retried(lambda: storage.save("a", b"1"))
    await retried(lambda: storage.write([Transaction((), (Put("a", b"2"),))]))
    async for key in storage.keys():
        assert key != SERVER_SYNCED


async def written(storage: Storage) -> None:
    (outcome,) = await storage.write([Transaction((), (Put("other", b"1"),))])
    if isinstance(outcome, Failed):
        raise outcome.error
    assert isinstance(outcome, Committed)


async def test_a_store_that_refuses_writes_is_read_all_the_same_in_a_run_that_has_synced(server: StoreServer) -> None:
    storage = open_storage(server.url)
    await storage.connect()
    await storage.save("a", b"1")
    await asyncio.to_thread(server.ask, "CONFIG", "SET", "min-replicas-to-write", "1")
    await asyncio.to_thread(server.ask, "CLIENT", "KILL", "TYPE", "normal")
    assert await retried(lambda: storage.load("a")) == b"1"
    await storage.disconnect()


async def test_every_way_to_read_waits_for_a_write_after_each_restart(server: StoreServer, onlooker: Onlooker) -> None:
    storage = open_storage(onlooker.url)
    await storage.connect()
    for _ in range(3):
        await asyncio.gather(*(every_way_to_read(storage) for _ in range(8)))
        await again(server)
    await every_way_to_read(storage)
    await storage.disconnect()
    assert onlooker.connections > 8
    assert all(onlooker.seen[name] for name in READS)
    assert onlooker.too_early == []


async def test_keeping_and_accounts_read_nothing_before_it_through_restarts_of_the_store(
    server: StoreServer, onlooker: Onlooker
) -> None:
    keeper = await Keeper.open(onlooker.url, config=KeeperConfig(name="town"))
    stored_accounts = keeper.unowned(Account)
    purse = await keeper.login(Purse, 1, create=Purse)
    for number in range(1, 9):
        committing = asyncio.ensure_future(keeper.commit(earn, purse, ops=(Op(number),)))
        making = asyncio.ensure_future(stored_accounts.create(f"ada{number}", Account(username=f"ada{number}")))
        await asyncio.sleep(0)
        await again(server)
        await asyncio.wait([committing, making], timeout=LIMIT_S)
        assert committing.result().result == number
        await retried(lambda: keeper.table(Purse).load(2))
        await retried(lambda number=number: stored_accounts.get(f"ada{number}"))
    await keeper.close()
    assert onlooker.too_early == []


@pytest.mark.parametrize("turns", [1, 2, 3, 5, 8, 13, 21, 34])
async def test_a_read_that_is_cancelled_while_its_connection_begins_leaves_no_answer_to_the_next_one(
    server: StoreServer, turns: int
) -> None:
    storage = open_storage(server.url)
    await storage.connect()
    await storage.save("key", b"THE-VALUE")
    await asyncio.to_thread(server.ask, "CLIENT", "KILL", "TYPE", "normal")
    await retried(lambda: written(storage))
    await asyncio.to_thread(server.pause)
    reading = [asyncio.ensure_future(storage.load("key")) for _ in range(7)]  # on connections that are new
    for _ in range(turns):
        await asyncio.sleep(0)
    for each in reading:
        each.cancel()
    await asyncio.wait(reading)
    assert all(each.cancelled() for each in reading)  # while the store is silent
    server.resume()

    async def right() -> None:
        assert await storage.load("key") == b"THE-VALUE"

    await asyncio.gather(*(retried(right) for _ in range(7)))
    await storage.disconnect()


async def test_control_a_connection_without_it_is_seen(onlooker: Onlooker, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(*_: object) -> None:
        pass

    monkeypatch.setattr(SyncOnNewRun, "sync_before_reading", nothing)
    storage = open_storage(onlooker.url)
    await storage.connect()
    await storage.load("a")
    await storage.disconnect()
    assert onlooker.too_early == [b"GET"]


async def test_a_store_that_is_full_is_read_all_the_same_once_it_has_been_used(server: StoreServer) -> None:
    storage = open_storage(server.url)
    await storage.connect()
    await storage.save("a", b"1")
    await storage.disconnect()
    await asyncio.to_thread(server.ask, "CONFIG", "SET", "maxmemory", "1")
    assert "OOM" in str(await asyncio.to_thread(server.ask, "SET", "b", "1"))
    await storage.connect()
    assert await storage.load("a") == b"1"
    assert await storage.delete("a")
    await storage.disconnect()
