"""What is read counts as durable only if it is: after a restart of the store its file may not be on the disk yet.

A store that was killed between a write and its fsync comes back with that write, from the memory of the system. Here each
acknowledgement is held against what a power failure would leave at that very moment.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest

from realmkeep import Keeper, Op, Record, Session, durable
from realmkeep.clock import SystemClock
from realmkeep.config import KeeperConfig
from realmkeep.drill.checks.append_only_log import incremental_file
from realmkeep.drill.disk.disk_shim import DiskShim
from realmkeep.errors import CommitPending, StorageUnavailable
from realmkeep.storage import Append, Failed, Guard, Put, Refused, Storage, Transaction, open_storage
from realmkeep.storage.redis_sync import SyncOnNewRun
from realmkeep.testing.lab import abandon
from realmkeep.testing.servers import StoreServer

pytestmark = [pytest.mark.backend("valkey"), pytest.mark.needs("gcc")]

LIMIT_S = 60.0
POLL_S = 0.002


class Purse(Record, kind="purse-of-reads", version=1):
    gold: int = durable(default=0)
    marks: list[str] = durable(default_factory=list[str])


@pytest.fixture
def shim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[DiskShim]:
    with DiskShim(tmp_path / "shim") as shim:
        for name, value in shim.environment.items():
            monkeypatch.setenv(name, value)
        yield shim


@pytest.fixture
def store(tmp_path: Path, shim: DiskShim, new_server: Callable[..., StoreServer]) -> StoreServer:
    directory = tmp_path / "store"
    directory.mkdir()
    return new_server(directory)


@pytest.fixture
async def keeper(store: StoreServer) -> AsyncIterator[Keeper]:
    config = KeeperConfig(name="town", pending_after_s=LIMIT_S)  # on a busy machine a commit waits for long
    keeper = await Keeper.open(store.url, config=config)
    yield keeper
    abandon(keeper)


def mark(text: str) -> Callable[[Purse], int]:
    def fn(purse: Purse) -> int:
        purse.marks = [*purse.marks, text]
        purse.gold += 1
        return purse.gold

    return fn


def mark_once(text: str) -> Callable[[Purse], int]:
    """The last few marks, so that the record stays small."""

    def fn(purse: Purse) -> int:
        purse.marks = purse.marks[-3:]
        return mark(text)(purse)

    return fn


def on_disk(shim: DiskShim, store: StoreServer, text: str) -> bool:
    """Whether a power failure now would leave it."""
    file = incremental_file(store.directory)
    length = shim.durable_bytes(file)
    with file.open("rb") as opened:
        return text.encode() in opened.read(length)


async def written_but_not_synced(shim: DiskShim, store: StoreServer, text: str) -> None:
    """Wait for that moment; fsyncs have to be slow."""
    file = incremental_file(store.directory)
    async with asyncio.timeout(LIMIT_S):
        while text.encode() not in await asyncio.to_thread(file.read_bytes):
            await asyncio.sleep(POLL_S)
    assert not on_disk(shim, store, text)


async def die_before_the_fsync(shim: DiskShim, store: StoreServer, text: str) -> None:
    """The store is killed between the write of this text and its fsync, and comes back; fsyncs stay slow."""
    await written_but_not_synced(shim, store, text)
    await asyncio.to_thread(store.kill)
    await asyncio.to_thread(store.start)


async def until_done(awaited: asyncio.Future[Any]) -> None:
    async with asyncio.timeout(LIMIT_S):
        await asyncio.wait([awaited])


async def test_a_commit_that_the_resolver_finds_in_the_store_is_on_the_disk(
    shim: DiskShim, store: StoreServer, keeper: Keeper
) -> None:
    purse = await keeper.login(Purse, 1, create=Purse)
    shim.slow(2.0)
    committing = asyncio.ensure_future(keeper.commit(mark("THE-MARK"), purse, ops=(Op(1),)))
    await die_before_the_fsync(shim, store, "THE-MARK")
    await until_done(committing)
    assert on_disk(shim, store, "THE-MARK")
    assert committing.result().result == 1


READS: dict[str, Callable[[Storage], Awaitable[object]]] = {
    "load": lambda storage: storage.load("key"),
    "load_many": lambda storage: storage.load_many(["other", "key"]),
    "load_list": lambda storage: storage.load_list("list"),
    "exists": lambda storage: storage.exists("key"),
    "keys": lambda storage: anext(storage.keys("key")),
    "a refusal": lambda storage: storage.write([Transaction((Guard("key", b"else"),), (Put("key", b"mine"),))]),
}


@pytest.mark.parametrize("how", READS)
@pytest.mark.parametrize("fresh", [True, False], ids=["a new server", "a connection that broke"])
async def test_whatever_is_read_is_on_the_disk(shim: DiskShim, store: StoreServer, how: str, *, fresh: bool) -> None:
    """Logins, recovery, rescue, healing, accounts, tables and tools read by these and by nothing else."""
    before = open_storage(store.url)
    await before.connect()
    shim.slow(1.0)
    asking = asyncio.ensure_future(
        before.write([Transaction((), (Put("key", b"THE-MARK"), Append("list", b"THE-MARK")))])
    )
    await die_before_the_fsync(shim, store, "THE-MARK")
    await until_done(asking)
    storage = open_storage(store.url) if fresh else before
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                await storage.connect()
                found = await READS[how](storage)
                if not isinstance(found, list) or not isinstance(found[0], Failed):
                    break
            except StorageUnavailable:
                pass
            await asyncio.sleep(POLL_S)
    assert on_disk(shim, store, "THE-MARK")
    if how == "a refusal":
        assert isinstance(found, list)
        assert isinstance(found[0], Refused)
    await before.disconnect()
    await storage.disconnect()


async def test_nothing_is_acknowledged_while_no_fsync_succeeds(
    shim: DiskShim, store: StoreServer, keeper: Keeper
) -> None:
    """`always`: the store ends at the first fsync that fails. Here an operator starts it again and again."""
    purse = await keeper.login(Purse, 1, create=Purse)
    shim.fail(failing=True)
    committing = asyncio.ensure_future(keeper.commit(mark("THE-MARK"), purse, ops=(Op(1),)))
    for _ in range(5):
        ended = asyncio.to_thread(lambda: store.process is not None and store.process.wait(LIMIT_S))
        assert await ended == 1
        assert not committing.done()
        with suppress(TimeoutError):  # it may end as soon as somebody connects
            await asyncio.to_thread(store.start)
    shim.fail(failing=False)
    await asyncio.to_thread(store.stop)
    await asyncio.to_thread(store.start)
    await until_done(committing)
    assert on_disk(shim, store, "THE-MARK")


async def test_the_embedded_store_acknowledges_nothing_that_a_power_failure_takes(
    tmp_path: Path, shim: DiskShim
) -> None:
    """Commits of a crowd; the store is killed and its fsyncs fail for a while; an image at each acknowledgement."""
    directory = tmp_path / "embedded"
    shim.slow(0.015)
    keeper = await Keeper.open(
        f"embedded:///{directory}",
        config=KeeperConfig(name="town", tier1_rate_per_s=10_000),
        rescue_path=Path(os.devnull),
    )
    purses = [await keeper.login(Purse, number, create=Purse) for number in range(8)]
    lost, done = list[str](), 0
    over = asyncio.Event()

    async def play(purse: Session[Purse]) -> None:
        nonlocal done
        while not over.is_set():
            text = f"{purse.keys.record}/{purse.record.gold + 1}/"
            try:
                await keeper.commit(mark_once(text), purse)
            except CommitPending as pending:
                await pending.wait()
            file = incremental_file(directory)
            with file.open("rb") as opened:
                if text.encode() not in opened.read(shim.durable_bytes(file)):
                    lost.append(text)
            done += 1

    players = [asyncio.ensure_future(play(purse)) for purse in purses]
    random = Random(7)
    for turn in range(6):
        before = done
        async with asyncio.timeout(LIMIT_S):
            while done < before + 20:
                await asyncio.sleep(random.uniform(0, 0.03))
        if turn == 3:
            before_failing = shim.failed
            shim.fail(failing=True)
            async with asyncio.timeout(LIMIT_S):
                while shim.failed < before_failing + 2:  # the second one is of the store that was started again
                    await asyncio.sleep(POLL_S)
            shim.fail(failing=False)
        else:
            os.kill(int((directory / "store.pid").read_text("ascii")), signal.SIGKILL)
    over.set()
    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*players)
    await keeper.close()
    assert lost == []
    assert done >= 120


async def test_on_everysec_what_is_called_flushed_was_synced_though_it_was_written_by_an_earlier_run(
    tmp_path: Path, shim: DiskShim, new_server: Callable[..., StoreServer]
) -> None:
    """A store of `everysec` syncs when it writes: one that has just come back has nothing to write."""
    directory = tmp_path / "everysec"
    directory.mkdir()
    store = await asyncio.to_thread(new_server, directory, fsync="everysec")
    storage = open_storage(store.url)
    await storage.connect()
    shim.slow(30.0)
    await storage.save("key", b"THE-MARK")
    await written_but_not_synced(shim, store, "THE-MARK")
    await asyncio.to_thread(store.kill)
    shim.slow(0.0)
    await asyncio.to_thread(store.start)
    await storage.disconnect()
    again = open_storage(store.url)
    await again.connect()
    await again.flush()
    assert on_disk(shim, store, "THE-MARK")
    await again.disconnect()


EMBEDDED = """
import asyncio, sys
from realmkeep.storage import Put, Transaction, open_storage
from realmkeep.storage.redis_sync import SyncOnNewRun
from realmkeep.errors import StorageError

async def nothing(self, connection):
    pass

async def main():
    SyncOnNewRun.sync_before_reading = nothing  # the files are to be synced before it could
    storage = open_storage(sys.argv[1])
    await storage.connect()
    print("open", flush=True)
    sys.stdin.readline()
    await storage.write([Transaction((), (Put("key", b"THE-MARK"),))])
    while True:
        try:
            print((await storage.load("key")).decode(), flush=True)
            break
        except StorageError:  # it is down, or was seen to end while it started, and is started again
            await asyncio.sleep(0.01)
    sys.stdin.readline()
    await storage.disconnect()

asyncio.run(main())
"""


@pytest.mark.backend("embedded")
async def test_the_files_of_an_embedded_store_are_on_the_disk_before_it_starts_on_them(
    tmp_path: Path, shim: DiskShim
) -> None:
    """It may begin by rewriting them, and then says nothing of when the old ones are synced."""
    directory = tmp_path / "embedded"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", EMBEDDED, f"embedded:///{directory}",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdin is not None
    assert child.stdout is not None
    async with asyncio.timeout(LIMIT_S):
        assert await child.stdout.readline() == b"open\n"
        shim.slow(LIMIT_S)
        child.stdin.write(b"go\n")
        file = incremental_file(directory)
        while b"THE-MARK" not in await asyncio.to_thread(file.read_bytes):
            await asyncio.sleep(POLL_S)
        assert b"THE-MARK" not in file.read_bytes()[: shim.durable_bytes(file)]
        shim.slow(0.0)
        os.kill(int((directory / "store.pid").read_text("ascii")), signal.SIGKILL)
        assert await child.stdout.readline() == b"THE-MARK\n"
        assert b"THE-MARK" in file.read_bytes()[: shim.durable_bytes(file)]
        child.stdin.write(b"end\n")
        assert await child.wait() == 0


WRITER = """
import asyncio, sys
from realmkeep.storage import Put, Transaction, open_storage

async def write():
    storage = open_storage(sys.argv[1])
    await storage.connect()
    await storage.save("first", b"")  # a new log has a header with an fsync of its own
    print("open", flush=True)
    sys.stdin.readline()
    await storage.write([Transaction((), (Put("key", b"THE-MARK"),))])

asyncio.run(write())
"""
READER = """
import asyncio, sys
from realmkeep.storage import open_storage

async def read():
    storage = open_storage(sys.argv[1])
    await storage.connect()
    print((await storage.load("key") or b"nothing").decode(), flush=True)
    sys.stdin.readline()

asyncio.run(read())
"""


@pytest.mark.backend("sqlite")
def test_what_a_killed_server_had_not_synced_is_when_the_next_one_reads_it_from_sqlite(tmp_path: Path) -> None:
    database = tmp_path / "db" / "realm.db"
    database.parent.mkdir(mode=0o700)
    with DiskShim(tmp_path / "shim", files="realm.db") as shim:

        def run(program: str) -> subprocess.Popen[str]:
            return subprocess.Popen(
                [sys.executable, "-c", program, f"sqlite:///{database}"],
                env={**os.environ, **shim.environment}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip

        log = Path(f"{database}-wal")
        with run(WRITER) as writer:
            assert writer.stdout is not None
            assert writer.stdin is not None
            assert writer.stdout.readline() == "open\n"
            shim.slow(LIMIT_S)
            writer.stdin.write("go\n")
            writer.stdin.flush()
            clock = SystemClock()
            limit_s = clock.monotonic_s() + LIMIT_S
            while not (log.exists() and b"THE-MARK" in log.read_bytes()):
                assert clock.monotonic_s() < limit_s
            writer.kill()
        assert b"THE-MARK" not in log.read_bytes()[: shim.durable_bytes(log)]
        shim.slow(0.0)
        with run(READER) as reader:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "THE-MARK\n"
            assert b"THE-MARK" in log.read_bytes()[: shim.durable_bytes(log)]
            reader.kill()


async def test_control_without_the_write_of_its_own_it_is_not(
    shim: DiskShim, store: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None:
        pass

    monkeypatch.setattr(SyncOnNewRun, "sync_before_reading", nothing)
    before = open_storage(store.url)
    await before.connect()
    shim.slow(1.0)
    asking = asyncio.ensure_future(before.write([Transaction((), (Put("key", b"THE-MARK"),))]))
    await die_before_the_fsync(shim, store, "THE-MARK")
    await until_done(asking)
    storage = open_storage(store.url)
    await storage.connect()
    assert await storage.load("key") == b"THE-MARK"
    assert not on_disk(shim, store, "THE-MARK")
    await before.disconnect()
    await storage.disconnect()
