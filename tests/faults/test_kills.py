"""The store is killed, stopped, or loses power under load: what was committed is there."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from realmkeep.errors import StorageUnavailable
from realmkeep.storage import Committed, Guard, Put, Storage, Transaction, Unknown, open_storage
from realmkeep.testing.servers import StoreServer

pytestmark = pytest.mark.backend("valkey")

PLAYERS = 20
IMAGE_BYTES = 32 * 1024**2


class Crowd:
    """Players whose revisions are raised one by one; knows what each was told."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.committed = [0] * PLAYERS
        self.is_over = False

    async def start(self) -> None:
        puts = [Transaction((), (Put(f"player:{n}:updated", b"0"), Put(f"player:{n}", b"0"))) for n in range(PLAYERS)]
        assert await self._storage.write(puts) == [Committed()] * PLAYERS

    async def play(self, number: int) -> None:
        """Until a write is not committed."""
        while not self.is_over:
            old, new = (b"%d" % (self.committed[number] + more) for more in (0, 1))
            (outcome,) = await self._storage.write(
                [
                    Transaction(
                        (Guard(f"player:{number}:updated", old),),
                        (Put(f"player:{number}:updated", new), Put(f"player:{number}", new * 100)),
                    )
                ]
            )
            if not isinstance(outcome, Committed):
                return
            self.committed[number] += 1

    async def until_busy(self) -> None:
        async with asyncio.timeout(20):
            while min(self.committed) < 3:
                await asyncio.sleep(0.001)


async def check(storage: Storage, committed: list[int]) -> list[str]:
    """What is wrong: a revision that was promised and is not there, or a record that does not belong to its revision."""
    wrong: list[str] = []
    for number, promised in enumerate(committed):
        revision = await storage.load(f"player:{number}:updated")
        record = await storage.load(f"player:{number}")
        if revision is None or int(revision) < promised:
            wrong.append(f"player {number} was told {promised}, the store has {revision}")
        elif int(revision) > promised + 1 or (int(revision) and record != revision * 100):
            wrong.append(f"player {number} is torn: {revision} {record}")
    return wrong


async def crash_under_load(server: StoreServer, crash: Callable[[], None]) -> list[int]:
    """Load, crash, and what each player had been told by then."""
    storage = open_storage(server.url)
    await storage.connect()
    crowd = Crowd(storage)
    await crowd.start()
    players = [asyncio.create_task(crowd.play(number)) for number in range(PLAYERS)]
    await crowd.until_busy()
    await asyncio.to_thread(crash)
    crowd.is_over = True
    await asyncio.gather(*players)
    await storage.disconnect()
    return crowd.committed


async def what_is_wrong(server: StoreServer, committed: list[int]) -> list[str]:
    storage = open_storage(server.url)
    await storage.connect()
    wrong = await check(storage, committed)
    await storage.disconnect()
    return wrong


async def test_every_committed_transaction_survives_sigkill_of_the_store_under_load(server: StoreServer) -> None:
    for _ in range(3):
        committed = await crash_under_load(server, server.kill)
        await asyncio.to_thread(server.start)
        assert await what_is_wrong(server, committed) == []


async def test_control_a_store_without_append_only_file_loses_and_is_caught(
    tmp_path: Path, new_server: Callable[..., StoreServer]
) -> None:
    server = await asyncio.to_thread(new_server, tmp_path, extra='appendonly no\nsave ""\n')
    committed = await crash_under_load(server, server.kill)
    await asyncio.to_thread(server.start)
    assert len(await what_is_wrong(server, committed)) == PLAYERS


class PowerFailure:
    """Runs a store on a file system in a file, and copies that file while the store stands still.

    What the inner file system has only in memory is not in the file: the copy is the disk after a power failure.
    """

    def __init__(self, directory: Path, mount: Callable[..., Path], new_server: Callable[..., StoreServer]) -> None:
        self._directory = directory
        self._mount = mount
        self._new_server = new_server

    async def losses(self, extra: str = "") -> list[str]:
        """What is missing afterwards, although it had been committed."""
        disk, after = self._directory / "disk", self._directory / "disk-after"
        disk.touch()
        os.truncate(disk, IMAGE_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True, capture_output=True)
        before = self._mount("-o", "loop", disk, at=self._directory / "before")
        server = await asyncio.to_thread(self._new_server, before, extra=extra)
        os.sync()  # the empty store is on the disk; what follows is only if it is fsynced

        def fail() -> None:
            server.pause()
            shutil.copyfile(disk, after)
            server.kill()  # without waking it: it must not answer anything that the copy does not have

        committed = await crash_under_load(server, fail)
        copied = self._mount("-o", "loop", after, at=self._directory / "after")
        return await what_is_wrong(await asyncio.to_thread(self._new_server, copied), committed)


@pytest.fixture
def power(tmp_path: Path, mount: Callable[..., Path], new_server: Callable[..., StoreServer]) -> PowerFailure:
    return PowerFailure(tmp_path, mount, new_server)


@pytest.mark.needs("mount")
async def test_every_committed_transaction_survives_a_power_failure(power: PowerFailure) -> None:
    assert await power.losses() == []


@pytest.mark.needs("mount")
@pytest.mark.parametrize("lie", ["appendfsync no", "appendfsync everysec"])
async def test_control_a_store_that_answers_before_its_fsync_loses_and_is_caught(power: PowerFailure, lie: str) -> None:
    assert await power.losses(f"{lie}\n") != []


async def test_a_stopped_store_is_waited_for_and_then_given_up(server: StoreServer) -> None:
    storage = open_storage(f"{server.url}?timeout_s=0.3")
    await storage.connect()
    await asyncio.to_thread(server.pause)
    transaction = Transaction((Guard("a", None),), (Put("a", b"1"),))
    (outcome,) = await storage.write([transaction])
    assert isinstance(outcome, Unknown)
    with pytest.raises(StorageUnavailable):
        await storage.load("a")
    await asyncio.to_thread(server.resume)
    async with asyncio.timeout(10):
        while True:
            try:
                found = await storage.load("a")
            except StorageUnavailable:
                await asyncio.sleep(0.005)
            else:
                break
    (again,) = await storage.write([transaction])  # it was in the socket, and happened when the store woke up
    assert found == b"1"
    assert not isinstance(again, Committed)
    await storage.disconnect()


async def test_a_pause_shorter_than_the_timeout_is_only_a_pause(server: StoreServer) -> None:
    storage = open_storage(server.url)
    await storage.connect()
    await asyncio.to_thread(server.pause)
    writing = asyncio.create_task(storage.write([Transaction((), (Put("a", b"1"),))]))
    reading = asyncio.create_task(storage.load("a"))
    done, _ = await asyncio.wait([writing, reading], timeout=0.5)
    assert not done
    await asyncio.to_thread(server.resume)
    assert await writing == [Committed()]
    assert await reading in {None, b"1"}
    await storage.disconnect()
