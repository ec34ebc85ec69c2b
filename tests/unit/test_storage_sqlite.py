import asyncio
import os
import tempfile
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import apsw
import pytest

from realmkeep.errors import (
    ConfigError,
    OutcomeUnknown,
    StorageFull,
    StorageLocked,
    StorageMisconfigured,
    StorageUnavailable,
)
from realmkeep.storage import (
    Append,
    Committed,
    Delete,
    Failed,
    Guard,
    Put,
    Refused,
    Transaction,
    Unknown,
    open_storage,
    sqlite_file,
)
from realmkeep.storage.sqlite import SqliteStorage
from realmkeep.storage.sqlite_contents import Connection
from realmkeep.testing.clock import FakeClock

HANGS_S = 10  # by then something is wrong; never waited for otherwise

pytestmark = pytest.mark.backend("sqlite")


def put(key: str, value: bytes = b"1", *, expire_s: float | None = None) -> Transaction:
    return Transaction((), (Put(key, value, expire_s),))


class Disk(apsw.VFS):
    """SQLite's own way to the disk, with a counter, a gate and faults in front of it."""

    def __init__(self) -> None:
        self.syncs: Counter[str] = Counter()
        self.fault: Callable[[str, str], None] = lambda _operation, _suffix: None
        self.real = apsw.vfs_names()[0]
        super().__init__("disk-of-the-test", self.real, makedefault=True)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - apsw's name
        return DiskFile(self, name, flags)


class DiskFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        super().__init__(disk.real, name, flags)
        text = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        self._disk, self._suffix = disk, text.rpartition("db")[2]

    def xSync(self, flags: int) -> None:  # noqa: N802 - apsw's name
        self._disk.fault("sync", self._suffix)
        super().xSync(flags)
        self._disk.syncs[self._suffix] += 1

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - apsw's name
        self._disk.fault("write", self._suffix)
        super().xWrite(data, offset)  # pyright: ignore[reportUnknownMemberType] - apsw's types need Python 3.12


@pytest.fixture
def disk() -> Iterator[Disk]:
    disk = Disk()
    yield disk
    disk.unregister()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "realm.db"


def raw(path: Path) -> Connection:
    return apsw.Connection(str(path))


async def opened(path: Path) -> SqliteStorage:
    storage = SqliteStorage(path, clock=FakeClock())
    await storage.connect()
    return storage


# --- group commit and the disk


async def test_every_call_that_waits_for_the_disk_shares_the_next_fsync(disk: Disk, path: Path) -> None:
    storage = await opened(path)
    await storage.write([put("warm")])  # the first commit of a log syncs its header as well
    reached, gate = threading.Event(), threading.Event()

    def wait_at_the_gate(operation: str, suffix: str) -> None:
        if (operation, suffix) == ("sync", "-wal"):
            reached.set()
            gate.wait(HANGS_S)

    disk.fault = wait_at_the_gate
    before = disk.syncs["-wal"]
    first = asyncio.create_task(storage.write([put("first")]))
    assert await asyncio.to_thread(reached.wait, HANGS_S), "no commit reached the disk"
    refused = Transaction((Guard("first", None),), (Put("never", b""),))
    others = [asyncio.create_task(storage.write([put(f"key:{n}"), refused])) for n in range(200)]
    counted = asyncio.create_task(storage.increment("n"))
    await asyncio.sleep(0)  # each call has started
    assert not first.done()
    gate.set()
    assert await first == [Committed()]
    assert await asyncio.gather(*others) == [[Committed(), Refused(refused.guards[0], b"1")]] * 200
    assert await counted == 1
    assert disk.syncs["-wal"] - before == 2, "one for the first, one for all that waited for it"
    assert not await storage.exists("never")
    await storage.disconnect()


async def test_no_call_that_changes_something_returns_before_its_fsync(disk: Disk, path: Path) -> None:
    storage = await opened(path)
    await storage.write([put("warm")])  # the first commit of a log syncs its header as well

    async def syncs_during(call: Callable[[], Awaitable[object]]) -> int:
        before = disk.syncs["-wal"]
        await call()
        return disk.syncs["-wal"] - before

    assert await syncs_during(lambda: storage.write([put("a")])) == 1
    assert await syncs_during(lambda: storage.write([put(f"key:{n}") for n in range(100)])) == 1
    assert await syncs_during(lambda: storage.increment("n")) == 1
    assert await syncs_during(lambda: storage.save("s", b"1")) == 1
    assert await syncs_during(lambda: storage.delete("s")) == 1
    assert await syncs_during(lambda: storage.load("a")) == 0
    await storage.disconnect()


async def test_a_full_disk_refuses_and_changes_nothing_until_there_is_room(disk: Disk, path: Path) -> None:
    storage = await opened(path)
    await storage.write([put("a", b"old")])

    def full(operation: str, suffix: str) -> None:
        if (operation, suffix) == ("write", "-wal"):
            raise apsw.FullError("no space left")

    disk.fault = full
    for outcome in await storage.write([put("a", b"new"), put("b")]):
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, StorageFull)
        assert isinstance(outcome.error.__cause__, apsw.FullError)
        assert outcome.error.retryable
    with pytest.raises(StorageFull, match=r"realm\.db"):
        await storage.increment("n")
    disk.fault = lambda _operation, _suffix: None
    assert await storage.load_many(["a", "b", "n"]) == [b"old", None, None]
    assert await storage.write([put("a", b"new")]) == [Committed()]
    assert await storage.load("a") == b"new"
    await storage.disconnect()


async def test_a_commit_that_fails_at_the_disk_is_unknown_and_all_or_nothing(disk: Disk, path: Path) -> None:
    storage = await opened(path)
    await storage.write([put("a", b"old")])

    def broken(operation: str, suffix: str) -> None:
        if (operation, suffix) == ("sync", "-wal"):
            raise apsw.IOError("input/output error")

    disk.fault = broken
    transaction = Transaction((Guard("a", b"old"),), (Put("a", b"new"), Put("b", b"new")))
    (outcome,) = await storage.write([transaction])
    assert isinstance(outcome, Unknown)
    assert isinstance(outcome.error, OutcomeUnknown)
    with pytest.raises(OutcomeUnknown):
        await storage.increment("n")
    disk.fault = lambda _operation, _suffix: None
    assert await storage.load_many(["a", "b"]) in ([b"old", None], [b"new", b"new"])
    (again,) = await storage.write([transaction])
    assert isinstance(again, Committed | Refused)
    assert await storage.load_many(["a", "b"]) == [b"new", b"new"]
    await storage.disconnect()


async def test_another_program_that_holds_a_lock_makes_writes_fail_and_reads_go_on(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_MS", 1)
    storage = await opened(path)
    await storage.write([put("a")])
    other = raw(path)
    other.execute("BEGIN IMMEDIATE")
    (outcome,) = await storage.write([put("a", b"2")])
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, StorageUnavailable)
    assert outcome.error.retryable
    assert await storage.load("a") == b"1"
    other.close()
    assert await storage.write([put("a", b"2")]) == [Committed()]
    await storage.disconnect()


async def test_a_defect_reaches_the_caller_and_the_store_lives_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = await opened(path)

    def defective(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patch:
        patch.setattr("realmkeep.storage.sqlite_contents.SqliteContents.sweep_expired", defective)
        with pytest.raises(ZeroDivisionError):
            await storage.write([put("a")])
    other = raw(path)
    other.execute("BEGIN IMMEDIATE")  # nothing was left open
    other.close()
    assert await storage.load("a") is None
    assert await storage.write([put("a")]) == [Committed()]
    await storage.disconnect()


async def test_an_iteration_of_keys_keeps_no_read_open(path: Path) -> None:
    storage = await opened(path)
    await storage.write([put(f"key:{n}") for n in range(2500)])
    keys = storage.keys()
    assert await anext(keys) == "key:0"
    await storage.write([put("a"), Transaction((), (Delete("key:999"),))])  # the last of them in their order
    other = raw(path)
    busy, *_ = other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() or (1,)
    assert busy == 0, "somebody still reads the log"
    other.close()
    rest = [key async for key in keys]
    assert len(rest) == 2498
    assert "key:999" not in rest, "all was read in one go"
    await storage.disconnect()


# --- expiry


async def test_an_expiry_outlives_the_process_and_goes_by_the_wall(path: Path) -> None:
    clock = FakeClock()
    first = SqliteStorage(path, clock=clock)
    await first.connect()
    await first.write([put("lease", expire_s=30), Transaction((), (Append("l", b"1"),))])
    await first.disconnect()
    again = SqliteStorage(path, clock=clock)
    await again.connect()
    await clock.advance(29.999)
    assert await again.load("lease") == b"1"
    await clock.advance(0.001)
    assert await again.load("lease") is None
    await again.disconnect()


async def test_what_expired_is_cleared_away_by_later_writes(path: Path) -> None:
    clock = FakeClock()
    storage = SqliteStorage(path, clock=clock)
    await storage.connect()
    await storage.write([put(f"lease:{n}", expire_s=1) for n in range(150)])
    await clock.advance(1)
    await storage.write([put("a")])
    await storage.write([put("b")])
    await storage.disconnect()
    file = raw(path)
    assert file.execute("SELECT key FROM entry ORDER BY key").fetchall() == [("a",), ("b",)]
    file.close()


# --- files that are not ours, and places that do not serve


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}


def make_foreign(path: Path) -> None:
    foreign = raw(path)
    foreign.execute("CREATE TABLE bookmark (url); INSERT INTO bookmark VALUES ('https://example.org')")
    foreign.execute("PRAGMA journal_mode = WAL").fetchall()
    foreign.close()


def make_newer(path: Path) -> None:
    sqlite_file.SqliteFile.open(path).close()
    newer = raw(path)
    newer.execute(f"PRAGMA user_version = {sqlite_file.SCHEMA_VERSION + 1}")
    newer.close()
    Path(f"{path}-lock").unlink()


def make_text(path: Path) -> None:
    path.write_text("dear diary\n" * 1000)


@pytest.mark.parametrize(
    ("make", "message"), [(make_foreign, "another program"), (make_newer, "schema 2"), (make_text, "not a database")]
)
async def test_a_file_that_is_not_ours_is_refused_and_left_as_it_is(
    path: Path, make: Callable[[Path], None], message: str
) -> None:
    await asyncio.to_thread(make, path)
    before = contents(path.parent)
    with pytest.raises(StorageMisconfigured, match=message) as caught:
        await opened(path)
    assert str(path) in str(caught.value)
    assert contents(path.parent) == before


async def test_a_damaged_file_is_refused_and_left_as_it_is(path: Path) -> None:
    storage = await opened(path)
    await storage.write([put(f"key:{n}", bytes(3000)) for n in range(100)])
    await storage.disconnect()
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + b"\xff" * 4096 + whole[12288:])
    damaged = path.read_bytes()
    with pytest.raises(StorageMisconfigured, match=r"realm\.db"):
        await opened(path)
    assert path.read_bytes() == damaged
    path.write_bytes(whole)
    again = await opened(path)
    assert len([key async for key in again.keys("key:*")]) == 100
    await again.disconnect()


async def test_an_empty_file_is_made_into_ours(path: Path) -> None:
    path.touch()
    storage = await opened(path)
    assert await storage.write([put("a")]) == [Committed()]
    await storage.disconnect()


async def test_a_half_made_file_of_a_crash_is_in_nobodys_way(path: Path) -> None:
    Path(f"{path}-new").write_bytes(b"half")
    storage = await opened(path)
    await storage.disconnect()
    assert not Path(f"{path}-new").exists()


async def test_a_log_without_its_file_is_refused(path: Path) -> None:
    log = Path(f"{path}-wal")
    log.write_bytes(b"acknowledged")
    with pytest.raises(StorageMisconfigured, match="belong together"):
        await opened(path)
    assert log.read_bytes() == b"acknowledged"
    assert not path.exists()


@pytest.mark.parametrize("name", ["", "missing/realm.db"])
async def test_a_place_that_cannot_have_a_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageMisconfigured, match=str(tmp_path)):
        await opened(tmp_path / name)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A directory, and no more rights than its modes give: the superuser may write everywhere."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        directory.chmod(0o755)
        superuser = os.geteuid() == 0
        if superuser:
            os.chown(directory, 65534, 65534)
            os.seteuid(65534)
        yield directory
        if superuser:
            os.seteuid(0)
        directory.chmod(0o755)


async def test_a_read_only_file_or_directory_is_refused(unprivileged: Path) -> None:
    path = unprivileged / "realm.db"
    storage = await opened(path)
    await storage.write([put("a")])
    await storage.disconnect()
    path.chmod(0o444)
    with pytest.raises(StorageMisconfigured, match="write"):
        await opened(path)
    path.chmod(0o644)
    Path(f"{path}-lock").unlink()
    unprivileged.chmod(0o555)
    with pytest.raises(StorageMisconfigured, match="write"):
        await opened(path)
    unprivileged.chmod(0o755)
    again = await opened(path)
    assert await again.load("a") == b"1"
    await again.disconnect()


# --- one server a file


async def test_a_second_server_is_refused_by_any_name_of_the_file(tmp_path: Path, path: Path) -> None:
    storage = await opened(path)
    link = tmp_path / "link.db"
    link.symlink_to(path)
    for name in (path, link):
        with pytest.raises(StorageLocked, match=str(path)):
            await opened(name)
    assert await storage.write([put("a")]) == [Committed()]
    await storage.disconnect()
    again = await opened(link)
    assert await again.load("a") == b"1"
    await again.disconnect()


async def test_a_cancelled_connect_goes_on_and_can_be_waited_for_again(path: Path) -> None:
    storage = SqliteStorage(path)
    connecting = asyncio.create_task(storage.connect())
    await asyncio.sleep(0)
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting
    await storage.connect()
    assert await storage.write([put("a")]) == [Committed()]
    disconnecting = asyncio.create_task(storage.disconnect())
    await asyncio.sleep(0)
    disconnecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await disconnecting
    await storage.connect()
    assert await storage.load("a") == b"1"
    await storage.disconnect()


# --- URLs


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:///realm.db", "realm.db"),
        ("sqlite:///saves/realm.db", "saves/realm.db"),
        ("sqlite:////var/lib/realm.db", "/var/lib/realm.db"),
        ("sqlite:///C:/realms/realm.db", "C:/realms/realm.db"),
        ("sqlite:///100%25%20%3F%23.db", "100% ?#.db"),
    ],
)
def test_a_url_is_a_path(url: str, expected: str) -> None:
    assert repr(expected) in repr(open_storage(url))


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///", "sqlite://realm.db", "sqlite:///:memory:", "sqlite:///a?mode=ro", "sqlite:///a#b", "sqlite:///a%00b"],
)  # fmt: skip
def test_a_url_that_is_no_path_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        open_storage(url)


async def test_a_name_with_special_characters_is_one_file(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/a%3Fb%23c%25.db")
    await storage.connect()
    await storage.write([put("a")])
    await storage.disconnect()
    await storage.connect()
    assert await storage.load("a") == b"1"
    await storage.disconnect()
    assert {file.name for file in tmp_path.iterdir()} == {"a?b#c%.db", "a?b#c%.db-lock"}
