"""What an embedded store begins with: a snapshot that was put there, an append-only file that a power failure tore."""

import asyncio
import logging
import os
import re
import signal
import stat
from pathlib import Path
from typing import cast

import pytest

from realmkeep.errors import StorageMisconfigured, StorageUnavailable
from realmkeep.storage import Committed, Put, Transaction
from realmkeep.storage import embedded_process as process_module
from realmkeep.storage.append_only import FOLDER, MANIFEST
from realmkeep.storage.embedded import EmbeddedStorage
from realmkeep.storage.embedded_process import StoreProcess
from realmkeep.storage.snapshot_file import SNAPSHOT, describe_snapshot
from realmkeep.testing.servers import StoreServer

pytestmark = pytest.mark.backend("embedded")


def put(key: str, value: bytes) -> Transaction:
    return Transaction((), (Put(key, value),))


async def opened(directory: Path) -> EmbeddedStorage:
    storage = EmbeddedStorage(directory)
    await storage.connect()
    return storage


async def die(storage: EmbeddedStorage) -> None:
    """Its store is killed, and it is closed."""
    pid = storage.capability.process_id
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await storage.disconnect()


@pytest.fixture
async def backup(tmp_path: Path) -> Path:
    """The snapshot of a realm with a hundred records."""
    storage = await opened(tmp_path / "realm")
    await storage.write([put(f"player:{number}", b"%d" % number) for number in range(100)])
    await storage.disconnect()
    return tmp_path / "realm" / SNAPSHOT


def restored_into(directory: Path, backup: Path) -> Path:
    """What an operator does: a directory with the snapshot in it, and nothing else."""
    directory.mkdir()
    (directory / SNAPSHOT).write_bytes(backup.read_bytes())
    return directory


async def keys_of(storage: EmbeddedStorage) -> int:
    return len([key async for key in storage.keys("player:*")])


async def test_control_the_store_alone_starts_empty_and_overwrites_the_snapshot(tmp_path: Path, backup: Path) -> None:
    directory = restored_into(tmp_path / "new", backup)
    server = await asyncio.to_thread(StoreServer, directory)
    await asyncio.to_thread(server.start)
    assert await asyncio.to_thread(server.ask, "DBSIZE") == 0
    await asyncio.to_thread(server.ask, "SAVE")
    assert (directory / SNAPSHOT).stat().st_size < backup.stat().st_size
    await asyncio.to_thread(server.close)


async def test_a_snapshot_without_an_append_only_file_is_restored_and_told_and_kept_from_then_on(
    tmp_path: Path, backup: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = restored_into(tmp_path / "new", backup)
    storage = await opened(directory)
    assert await keys_of(storage) == 100
    assert await storage.load("player:99") == b"99"
    said = (
        f"it had no append-only file and was restored from {await asyncio.to_thread(describe_snapshot, backup.parent)}"
    )
    assert said in caplog.text
    assert re.search(r"with 10\d keys", caplog.text), "and one or two of the storage's own"
    assert said in storage.capability.warnings
    assert storage.capability.fsync == "always"
    assert await storage.write([put("player:100", b"new")]) == [Committed()]
    await die(storage)
    again = await opened(directory)
    assert await keys_of(again) == 101
    assert await again.load("player:100") == b"new"
    assert again.capability.warnings == ()
    await again.disconnect()


@pytest.mark.parametrize("moment", ["before the file", "after the file"])
async def test_a_crash_in_the_middle_of_a_restore_begins_it_again(
    tmp_path: Path, backup: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This server dies, and its store lives on as it is: without a file, or with one and the wrong settings."""
    directory = restored_into(tmp_path / "new", backup)
    make = StoreProcess._make_append_only_file

    async def crash(process: StoreProcess) -> None:
        if moment == "after the file":
            await make(process)
        raise StorageUnavailable("crash")

    first = EmbeddedStorage(directory)
    with monkeypatch.context() as patch:
        patch.setattr(StoreProcess, "_make_append_only_file", crash)
        with pytest.raises(StorageUnavailable, match="crash"):
            await first.connect()
    assert (directory / MANIFEST).exists() == (moment == "after the file")
    storage = await opened(directory)
    assert await keys_of(storage) == 100
    assert storage.capability.fsync == "always"
    await storage.disconnect()
    await asyncio.to_thread(first._process._reap)


async def test_a_store_that_is_killed_in_the_middle_of_a_restore_begins_it_again(tmp_path: Path, backup: Path) -> None:
    directory = restored_into(tmp_path / "new", backup)
    slowly = 'appendonly no\nsave ""\nrdb-key-save-delay 10000000\n'  # a quarter of an hour for the hundred
    server = await asyncio.to_thread(StoreServer, directory, extra=slowly)
    await asyncio.to_thread(server.start)
    assert await asyncio.to_thread(server.ask, "EXISTS", "player:99") == 1
    await asyncio.to_thread(server.ask, "CONFIG", "SET", "appendonly", "yes")
    assert b"aof_rewrite_in_progress:1" in cast("bytes", await asyncio.to_thread(server.ask, "INFO", "persistence"))
    assert any((directory / FOLDER).iterdir())
    assert not (directory / MANIFEST).exists()
    assert server.process
    tree = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
    children = [int(pid) for pid in (await asyncio.to_thread(tree.read_text)).split()]
    await asyncio.to_thread(server.close)
    for pid in children:  # it would write for a quarter of an hour
        os.kill(pid, signal.SIGKILL)
    storage = await opened(directory)
    assert await keys_of(storage) == 100
    await storage.disconnect()


async def test_an_append_only_file_wins_over_a_snapshot_that_was_put_beside_it_and_that_is_told(
    tmp_path: Path, backup: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, process_module.__name__)
    storage = await opened(tmp_path / "other")
    await storage.write([put("player:7", b"of today")])
    await storage.disconnect()
    (tmp_path / "other" / SNAPSHOT).write_bytes(backup.read_bytes())
    made_s = backup.stat().st_mtime
    os.utime(tmp_path / "other" / SNAPSHOT, (made_s + 3600, made_s + 3600))  # copied an hour later
    caplog.clear()
    again = await opened(tmp_path / "other")
    assert await again.load("player:7") == b"of today"
    assert await keys_of(again) == 1
    (told,) = [record for record in caplog.records if record.name == process_module.__name__]
    assert told.levelno == logging.WARNING
    assert "loads its append-only file, and not its dump.rdb of 20" in told.getMessage()
    assert "docs/restoring.md" in told.getMessage()
    await again.disconnect()
    caplog.clear()
    await (await opened(tmp_path / "other")).disconnect()
    assert [record.levelno for record in caplog.records if "append-only" in record.message] == [logging.INFO], "its own"


async def test_append_only_files_that_lost_their_manifest_are_not_started_without(tmp_path: Path) -> None:
    storage = await opened(tmp_path / "s")
    await storage.write([put("player:7", b"1")])
    await storage.disconnect()
    (tmp_path / "s" / MANIFEST).rename(tmp_path / "manifest")
    with pytest.raises(StorageMisconfigured, match="no manifest"):
        await opened(tmp_path / "s")
    (tmp_path / "manifest").rename(tmp_path / "s" / MANIFEST)
    again = await opened(tmp_path / "s")
    assert await again.load("player:7") == b"1"
    await again.disconnect()


async def test_a_snapshot_that_is_none_is_refused_and_left(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / SNAPSHOT).write_bytes(b"REDIS0011 and then nonsense")
    with pytest.raises(StorageMisconfigured, match="does not start"):
        await opened(tmp_path / "s")
    assert (tmp_path / "s" / SNAPSHOT).read_bytes() == b"REDIS0011 and then nonsense"


def last_file(directory: Path) -> Path:
    (path,) = (directory / FOLDER).glob("*.incr.aof")
    return path


def starts(directory: Path) -> bool:
    """Whether the store itself starts on it."""
    server = StoreServer(directory)
    try:
        server.start()
    except TimeoutError:
        return False
    else:
        return True
    finally:
        server.close()


TAILS = {
    "zeros": bytes(4096),
    "few zeros": bytes(7),
    "half a command": b"*3\r\n$3\r\nSET\r\n$8\r\npla",
    "a hole, and a command behind it": b"*3\r\n$3\r\nSET\r\n$8\r\nplayer:7\r\n$9000\r\n"
    + bytes(4096)
    + b"*1\r\n$4\r\nPING\r\n",
    "garbage": b"\xff\xfe\x00garbage",
    "half a transaction": b"*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$8\r\nplayer:7\r\n$1\r\n2\r\n",
}


@pytest.mark.parametrize("tail", TAILS)
async def test_a_torn_end_is_cut_and_nothing_that_was_acknowledged_is_lost(
    tmp_path: Path, tail: str, caplog: pytest.LogCaptureFixture
) -> None:
    directory = tmp_path / "s"
    storage = await opened(directory)
    outcomes = await storage.write([put(f"player:{number}", b"%d" % number) for number in range(50)])
    assert outcomes == [Committed()] * 50
    await die(storage)
    acknowledged = last_file(directory).read_bytes()
    last_file(directory).write_bytes(acknowledged + TAILS[tail])
    again = await opened(directory)
    assert await keys_of(again) == 50
    assert await again.load("player:7") == b"7"
    if not tail.startswith("half"):  # those the store cuts itself
        (kept,) = directory.glob("*.cut-at-*")
        assert kept.read_bytes() == TAILS[tail]
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert f"are in {kept}" in caplog.text
        assert any(str(kept) in warning for warning in again.capability.warnings)
    assert await again.write([put("player:50", b"50")]) == [Committed()]
    await die(again)
    third = await opened(directory)
    assert await keys_of(third) == 51
    await third.disconnect()


@pytest.mark.parametrize("tail", ["zeros", "garbage"])
async def test_control_the_store_alone_does_not_start_on_such_an_end(tmp_path: Path, tail: str) -> None:
    storage = await opened(tmp_path / "s")
    await storage.write([put("player:7", b"7")])
    await die(storage)
    path = last_file(tmp_path / "s")
    path.write_bytes(path.read_bytes() + TAILS[tail])
    assert not await asyncio.to_thread(starts, tmp_path / "s")


async def test_damage_in_the_middle_is_refused_and_nothing_is_cut(tmp_path: Path) -> None:
    storage = await opened(tmp_path / "s")
    for number in range(50):
        await storage.write([put(f"player:{number}", b"%d" % number)])
    await die(storage)
    path = last_file(tmp_path / "s")
    content = bytearray(path.read_bytes())
    content[content.index(b"player:20") - 4] = ord("!")
    path.write_bytes(content)
    with pytest.raises(StorageMisconfigured, match="not only at its end"):
        await opened(tmp_path / "s")
    assert path.read_bytes() == content
