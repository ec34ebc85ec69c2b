"""The embedded store: adopted after a crash of ours, never doubled, restarted when it dies, stopped cleanly."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from realmkeep.clock import SystemClock
from realmkeep.errors import StorageLocked, StorageMisconfigured, StorageUnavailable
from realmkeep.storage import Committed, Put, Storage, Transaction, open_storage
from realmkeep.storage import embedded_process as process_module
from realmkeep.storage.embedded import EmbeddedStorage
from realmkeep.storage.embedded_config import StoreSettings
from realmkeep.storage.embedded_process import StoreProcess, socket_path
from realmkeep.testing.servers import StoreServer

pytestmark = pytest.mark.backend("embedded")

# Another process that opens the store, writes, says so, and waits to be killed.
SERVER = """
import asyncio, pathlib, sys
from realmkeep.storage import Put, Transaction
from realmkeep.storage.embedded import EmbeddedStorage

async def main():
    storage = EmbeddedStorage(pathlib.Path(sys.argv[1]))
    await storage.connect()
    print(await storage.write([Transaction((), (Put("a", b"1"),))]), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def put(key: str, value: bytes) -> Transaction:
    return Transaction((), (Put(key, value),))


def store_pid(directory: Path) -> int:
    return int((directory / "store.pid").read_text())


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


async def until_back(storage: Storage) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await storage.exists("a")
            except (StorageUnavailable, StorageMisconfigured):
                await asyncio.sleep(0.01)
            else:
                return


def crashed_server(directory: Path, *, stopped: bool = False) -> int:
    """A server of ours wrote and was killed; its store lives on, or stands still. Returns the store's pid."""
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(directory)], stdout=subprocess.PIPE, text=True)
    assert server.stdout
    assert server.stdout.readline() == "[Committed()]\n"
    pid = store_pid(directory)
    if stopped:
        os.kill(pid, signal.SIGSTOP)
    server.kill()
    server.wait()
    server.stdout.close()
    assert is_alive(pid)
    return pid


async def test_it_outlives_a_crash_of_ours_and_is_adopted(tmp_path: Path) -> None:
    pid = await asyncio.to_thread(crashed_server, tmp_path)
    storage = EmbeddedStorage(tmp_path)
    await storage.connect()
    assert store_pid(tmp_path) == pid
    assert await storage.load("a") == b"1"
    await storage.disconnect()
    assert not is_alive(pid)


async def test_a_store_that_stands_still_is_waited_for_and_not_doubled(tmp_path: Path) -> None:
    pid = await asyncio.to_thread(crashed_server, tmp_path, stopped=True)
    storage = EmbeddedStorage(tmp_path)
    connecting = asyncio.create_task(storage.connect())
    done, _ = await asyncio.wait([connecting], timeout=0.5)
    assert not done
    assert store_pid(tmp_path) == pid
    os.kill(pid, signal.SIGCONT)
    await connecting
    assert store_pid(tmp_path) == pid
    assert await storage.load("a") == b"1"
    await storage.disconnect()


async def test_a_store_that_stands_still_too_long_is_reported_with_its_pid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "SILENCE_S_MAX", 0.2)
    pid = await asyncio.to_thread(crashed_server, tmp_path, stopped=True)
    storage = EmbeddedStorage(tmp_path)
    with pytest.raises(StorageUnavailable, match=f"kill -CONT {pid}"):
        await storage.connect()
    assert is_alive(pid)
    os.kill(pid, signal.SIGCONT)
    await storage.connect()  # the failed attempt has let go of the directory
    await storage.disconnect()


async def test_another_configuration_than_the_adopted_ones_takes_effect(tmp_path: Path) -> None:
    pid = await asyncio.to_thread(crashed_server, tmp_path)
    storage = EmbeddedStorage(tmp_path, maxmemory_bytes=64 * 1024**2)
    await storage.connect()
    assert store_pid(tmp_path) != pid
    assert not is_alive(pid)
    assert await storage.load("a") == b"1"
    assert "maxmemory 67108864\n" in (tmp_path / "store.conf").read_text()
    await storage.disconnect()


async def test_control_two_plain_stores_on_one_directory_both_promise_and_one_promise_is_broken(tmp_path: Path) -> None:
    """What the locks are there to prevent: each grants the same claim, and after a restart only one of the two stands."""
    first, second = [await asyncio.to_thread(StoreServer, tmp_path) for _ in range(2)]
    try:
        await asyncio.to_thread(first.start)
        await asyncio.to_thread(second.start)
        for number, store in enumerate((first, second)):
            assert await asyncio.to_thread(store.ask, "SET", "player:7:owner", number, "NX") == b"OK"
        assert await asyncio.to_thread(first.ask, "GET", "player:7:owner") == b"0"
        assert await asyncio.to_thread(second.ask, "GET", "player:7:owner") == b"1"
        await asyncio.to_thread(first.kill)
        await asyncio.to_thread(second.kill)
        await asyncio.to_thread(first.start)  # both wrote one file; replayed, it refuses the second claim
        assert await asyncio.to_thread(first.ask, "GET", "player:7:owner") == b"0"
    finally:
        await asyncio.to_thread(first.close)
        await asyncio.to_thread(second.close)


async def test_a_second_server_is_refused_at_once_and_told_who_has_it(tmp_path: Path) -> None:
    first = EmbeddedStorage(tmp_path)
    await first.connect()
    other = subprocess.run(
        [sys.executable, "-c", SERVER, str(tmp_path)], capture_output=True, text=True, check=False, timeout=20
    )
    assert "StorageLocked" in other.stderr
    assert f"process {os.getpid()}" in other.stderr
    with pytest.raises(StorageLocked):
        await EmbeddedStorage(tmp_path).connect()
    assert await first.write([put("a", b"1")]) == [Committed()]
    await first.disconnect()


async def test_a_store_that_dies_is_started_again_with_everything(tmp_path: Path) -> None:
    storage = EmbeddedStorage(tmp_path)
    await storage.connect()
    for number in range(3):
        value = b"%d" % number
        assert await storage.write([put("a", value)]) == [Committed()]
        await die(storage)
        assert await storage.load("a") == value
    await storage.disconnect()


async def test_its_process_id_is_told_and_the_new_one_after_it_died_and_the_log_says_how(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = EmbeddedStorage(tmp_path)
    await storage.connect()
    pid = store_pid(tmp_path)
    assert storage.capability.process_id == pid
    with (tmp_path / "store.log").open("a") as log:
        log.write("12:M 23 Nov 2026 22:13:04.749 # Error writing to the AOF file: No space left on device\n")
    os.kill(pid, signal.SIGKILL)
    await until_told_another(storage, pid)
    assert storage.capability.process_id == store_pid(tmp_path)
    (said,) = [record.getMessage() for record in caplog.records if record.name == process_module.__name__]
    assert "ended by signal 9 and is started again" in said
    assert said.endswith("its log says: Error writing to the AOF file: No space left on device")
    await storage.disconnect()


async def test_the_process_id_of_an_adopted_store_is_its_own_whatever_a_file_says(tmp_path: Path) -> None:
    pid = await asyncio.to_thread(crashed_server, tmp_path)
    (tmp_path / "store.pid").write_text("1\n")
    storage = EmbeddedStorage(tmp_path)
    await storage.connect()
    assert storage.capability.process_id == pid
    await storage.disconnect()


async def test_a_store_that_dies_of_the_same_thing_again_and_again_says_so_once_a_minute(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = EmbeddedStorage(tmp_path)
    await storage.connect()
    for _ in range(3):
        await die(storage)
    assert len([record for record in caplog.records if record.name == process_module.__name__]) == 1
    await storage.disconnect()


async def test_a_start_that_the_system_refuses_is_tried_again(tmp_path: Path) -> None:
    """As on a full disk: the store is dead, and its configuration cannot be written."""
    storage = EmbeddedStorage(tmp_path)
    await storage.connect()
    pid = storage.capability.process_id
    assert pid is not None
    (tmp_path / "store.conf").unlink()
    (tmp_path / "store.conf").mkdir()
    os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while "store.conf is not a regular file" not in await why_not(storage):
            await asyncio.sleep(0.01)
    (tmp_path / "store.conf").rmdir()
    await until_told_another(storage, pid)
    await storage.disconnect()


async def why_not(storage: Storage) -> str:
    """What the storage says is wrong; nothing while it answers."""
    try:
        await storage.exists("a")
    except StorageUnavailable as error:
        return error.message
    return ""


async def die(storage: Storage) -> None:
    """Kill the store's process, and return when another one serves."""
    pid = storage.capability.process_id
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await until_told_another(storage, pid)


async def until_told_another(storage: Storage, pid: int) -> None:
    async with asyncio.timeout(20):
        while storage.capability.process_id == pid:
            await asyncio.sleep(0.01)
    await until_back(storage)


async def test_disconnect_while_it_is_down_leaves_nothing_running_and_says_how_it_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = EmbeddedStorage(tmp_path)
    await storage.connect()
    died = store_pid(tmp_path)
    os.kill(died, signal.SIGKILL)
    async with asyncio.timeout(20):
        while is_alive(died):
            await asyncio.sleep(0.001)
    await storage.disconnect()
    assert "ended by signal 9" in caplog.text
    caplog.clear()
    again = EmbeddedStorage(tmp_path)
    await again.connect()
    pid = store_pid(tmp_path)
    await again.disconnect()
    assert not is_alive(pid)
    assert "ended" not in caplog.text, "it was told to"


async def test_stopping_uses_stronger_means_when_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        process_module, "SILENT_STOP_S_MAX", 0.3
    )  # and not a minute each: nobody waits for a shutdown so long
    storage = EmbeddedStorage(tmp_path)
    await storage.connect()
    assert await storage.write([put("a", b"1")]) == [Committed()]
    pid = store_pid(tmp_path)
    os.kill(pid, signal.SIGSTOP)  # neither SHUTDOWN nor SIGTERM reach it
    async with asyncio.timeout(30):
        await storage.disconnect()
    assert not is_alive(pid)
    await storage.connect()
    assert await storage.load("a") == b"1"
    await storage.disconnect()


async def test_a_store_that_cannot_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "appendonly.aof.manifest").write_text("file nonsense seq 1 type b\n")
    with pytest.raises(StorageMisconfigured, match="nonsense"):
        await EmbeddedStorage(tmp_path).connect()


async def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageMisconfigured, match="file/store"):
        await EmbeddedStorage(tmp_path / "file" / "store").connect()


async def test_a_long_directory_has_its_socket_elsewhere_and_its_owners_alone(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 120)
    storage = EmbeddedStorage(directory)
    await storage.connect()
    socket = socket_path(directory)
    assert len(os.fsencode(socket)) <= 103
    assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert await storage.write([put("a", b"1")]) == [Committed()]
    await storage.disconnect()
    assert not socket.exists()


async def test_socket_and_directory_are_their_owners_alone_and_there_is_no_tcp(tmp_path: Path) -> None:
    storage = open_storage(f"embedded:///{tmp_path}/new")
    await storage.connect()
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "new" / "store.sock").stat().st_mode) == 0o700
    assert "\nport 0\n" in (tmp_path / "new" / "store.conf").read_text()
    capability = storage.capability
    assert (capability.backend, capability.shared, capability.fsync) == ("embedded", False, "always")
    assert capability.durable_on_return
    assert capability.survives_power_loss
    assert capability.warnings == ()
    await storage.disconnect()


async def test_ctrl_c_does_not_reach_the_store(tmp_path: Path) -> None:
    process = StoreProcess(tmp_path, StoreSettings(str(tmp_path)), clock=SystemClock())
    await process.lock()
    assert await process.ensure_running()
    assert os.getsid(store_pid(tmp_path)) != os.getsid(0)
    await process.stop()
    process.unlock()


async def test_a_store_that_dies_of_a_full_disk_is_told_of_once_and_the_disk_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path) -> SimpleNamespace:
        return SimpleNamespace(free=17)

    monkeypatch.setattr("shutil.disk_usage", full)
    storage = EmbeddedStorage(tmp_path)
    await storage.connect()
    for _ in range(2):
        await die(storage)
    await storage.disconnect()
    (said,) = [record.message for record in caplog.records if record.name == process_module.__name__]
    assert said.startswith(f"the embedded store in {tmp_path} ended by signal 9 and is started again")
    assert said.endswith("; its disk is full: make room")


async def test_a_configuration_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "store.conf").mkdir()
    with pytest.raises(StorageUnavailable, match=r"cannot be started: .*store\.conf is not a regular file"):
        await EmbeddedStorage(tmp_path).connect()
