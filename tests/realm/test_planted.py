"""Another user of the machine: what he put where the server keeps its files, and what he may read of them."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from client import PATIENCE_S
from server import SETTINGS, running

from realmkeep.crowd.journal import Journal
from realmkeep.errors import FileRefused, StorageMisconfigured
from realmkeep.keeping.recovery.rescue_file import append_lines
from realmkeep.storage.embedded import EmbeddedStorage
from realmkeep.storage.sqlite import SqliteStorage
from realmkeep.testing.clock import FakeClock

COMMAND = [sys.executable, "-m", "realmkeep.cli"]


def modes(directory: Path) -> dict[str, int]:
    return {
        str(path.relative_to(directory)): stat.S_IMODE(path.lstat().st_mode)
        for path in sorted(directory.rglob("*"))
        if path.name != "log"  # the tests' own
    }


def ended(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, **SETTINGS},
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def test_whatever_the_umask_nobody_else_can_read_or_write_a_thing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o755)
    before = os.umask(0)
    try:
        with running(tmp_path / "data") as server:
            running_modes = modes(server.directory)
    finally:
        os.umask(before)
    stopped_modes = modes(server.directory)
    found = running_modes | stopped_modes
    assert {"server-keys.json", "server.json", "store", "store/store.conf", "store/dump.rdb"} <= found.keys()
    assert {name: oct(mode) for name, mode in found.items() if mode & 0o077} == {}


async def test_the_store_of_an_older_release_is_closed(tmp_path: Path) -> None:
    """Its owner alone could write there, so nothing can have been planted."""
    store = tmp_path / "store"
    (store / "appendonlydir").mkdir(parents=True)
    store.chmod(0o755)
    (store / "store.log").write_text("")
    storage = EmbeddedStorage(store)
    await storage.connect()
    assert stat.S_IMODE(store.stat().st_mode) == 0o700
    assert {name: oct(mode) for name, mode in modes(store).items() if mode & 0o077} == {}
    await storage.disconnect()


@pytest.mark.parametrize("name", ["store.conf", "store.log", "store.lock", "server.lock", "store.pid", "dump.rdb"])
async def test_a_link_in_the_store_leads_nowhere(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    store = tmp_path / "store"
    store.mkdir(mode=0o700)
    (store / name).symlink_to(victim)
    with pytest.raises(StorageMisconfigured, match=f"{name} is a symbolic link"):
        await EmbeddedStorage(store).connect()
    assert victim.read_text() == "precious"


async def test_a_link_deeper_in_the_store_leads_nowhere(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "store" / "appendonlydir").mkdir(parents=True)
    (tmp_path / "store" / "appendonlydir" / "appendonly.aof.1.incr.aof").hardlink_to(victim)
    with pytest.raises(StorageMisconfigured, match="hard link"):
        await EmbeddedStorage(tmp_path / "store").connect()
    assert victim.read_text() == "precious"


async def test_a_store_that_others_may_write_is_refused_with_the_line_that_mends_it(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    store.chmod(0o777)
    with pytest.raises(StorageMisconfigured, match=f"chmod go-w {store}"):
        await EmbeddedStorage(store).connect()
    assert [*store.iterdir()] == []


def test_a_data_directory_that_others_may_write_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    refused = ended("serve", "--data", str(tmp_path))
    assert refused.returncode == 1
    assert refused.stderr.splitlines()[-1].startswith(f"realmkeep: {tmp_path} may be written by other users (")
    assert [*tmp_path.iterdir()] == []


def test_settings_that_others_may_write_are_not_read(tmp_path: Path) -> None:
    settings = tmp_path / "realmkeep.toml"
    settings.write_text('[store]\nurl = "redis://attacker.example:6379/0"\n')
    settings.chmod(0o666)
    refused = ended("serve", "--data", str(tmp_path / "data"), cwd=tmp_path)
    assert refused.returncode == 1
    assert "realmkeep.toml may be written by other users" in refused.stderr
    assert not (tmp_path / "data").exists()


def rescue(path: Path) -> None:
    append_lines(path, [])


def journal(path: Path) -> None:
    Journal(path, FakeClock()).close()


@pytest.mark.parametrize("write", [rescue, journal])
def test_a_link_is_not_appended_to(tmp_path: Path, write: Callable[[Path], None]) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    path = tmp_path / "file"
    path.symlink_to(victim)
    with pytest.raises(FileRefused, match="symbolic link"):
        write(path)
    assert victim.read_text() == "precious"
    assert stat.S_IMODE(victim.stat().st_mode) & 0o044, "its mode is as it was"


def test_a_rescue_file_that_others_may_write_is_not_delivered(tmp_path: Path) -> None:
    path = tmp_path / "rescue.jsonl"
    path.touch()
    path.chmod(0o666)
    refused = ended("store", "rescue", str(path), "--store", "memory://")
    assert refused.returncode == 1
    assert "may be written by other users" in refused.stderr
    assert "Traceback" not in refused.stderr


def device(path: Path) -> str:
    """One of the test's own: were the code wrong, root would lose the machine's."""
    if os.geteuid() != 0:
        return "/dev/null"  # nobody but root could replace it
    os.mknod(path, stat.S_IFCHR | 0o600, Path("/dev/null").stat().st_rdev)
    return str(path)


def pipe(path: Path) -> str:
    os.mkfifo(path)
    return str(path)


def listening(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(str(path))
    return str(path)


def directory(path: Path) -> str:
    path.mkdir()
    return str(path)


def dangling_device(path: Path) -> str:
    path.symlink_to(device(path.with_name("device")))
    return str(path)


@pytest.mark.parametrize("make", [device, pipe, listening, directory, dangling_device])
async def test_what_is_no_file_does_not_become_a_database(tmp_path: Path, make: Callable[[Path], str]) -> None:
    path = Path(make(tmp_path / "thing"))
    before = path.lstat()
    with pytest.raises(StorageMisconfigured, match="not a regular file"):
        await SqliteStorage(path).connect()
    after = path.lstat()
    assert (after.st_mode, after.st_ino, after.st_rdev) == (before.st_mode, before.st_ino, before.st_rdev)
    assert {each.name for each in tmp_path.iterdir()} <= {"thing", "device"}


@pytest.mark.parametrize("make", [device, pipe, directory])
def test_nothing_else_becomes_a_file_either(tmp_path: Path, make: Callable[[Path], str]) -> None:
    """Every path that a user can name: the others are tested with the module that all go through."""
    path = make(tmp_path / "thing")
    settings = {**os.environ, **SETTINGS, "REALMKEEP_AUTH__KEY_FILE": path, "REALMKEEP_STORE__URL": "memory://"}
    command = [*COMMAND, "serve", "--data", str(tmp_path / "data"), "--tcp-port", "0", "--udp-port", "0"]
    refused = subprocess.run(command, env=settings, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert refused.returncode == 1
    assert "is not a regular file" in refused.stderr
    assert "Traceback" not in refused.stderr
    with pytest.raises(FileRefused):
        rescue(Path(path))


@pytest.mark.parametrize("suffix", ["-lock", "-new", "-wal", "-shm", "-journal"])
async def test_a_link_beside_a_database_leads_nowhere(tmp_path: Path, suffix: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    Path(f"{tmp_path / 'realm.db'}{suffix}").symlink_to(victim)
    with pytest.raises(StorageMisconfigured, match="symbolic link"):
        await SqliteStorage(tmp_path / "realm.db").connect()
    assert victim.read_text() == "precious"


async def test_the_files_of_sqlite_are_their_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        storage = SqliteStorage(tmp_path / "realm.db")
        await storage.connect()
        await storage.increment("n")
        found = modes(tmp_path)
        await storage.disconnect()
    finally:
        os.umask(before)
    assert {"realm.db", "realm.db-wal", "realm.db-shm", "realm.db-lock"} == found.keys()
    assert set(found.values()) == {0o600}
    (tmp_path / "realm.db").chmod(0o644)  # of an older release
    await storage.connect()
    assert modes(tmp_path)["realm.db"] == 0o600
    await storage.disconnect()


async def test_a_database_that_others_may_write_or_exchange_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "realm.db"
    storage = SqliteStorage(path)
    await storage.connect()
    await storage.disconnect()
    path.chmod(0o666)
    with pytest.raises(StorageMisconfigured, match=f"chmod go-w {path}"):
        await storage.connect()
    path.chmod(0o600)
    tmp_path.chmod(0o777)
    with pytest.raises(StorageMisconfigured, match=f"chmod go-w {tmp_path}"):
        await storage.connect()
