"""Findings about SQLite files, embedded stores and the store in memory."""

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from operations.doctor.fake_machine import FakeMachine
from realmkeep.errors import ConfigError
from realmkeep.operations.doctor import Finding, Report, examine
from realmkeep.operations.doctor.disk import FSYNC_S_MIN
from realmkeep.operations.doctor.mending import mend
from realmkeep.operations.doctor.sqlite import state_findings
from realmkeep.storage import Put, Transaction, open_storage
from realmkeep.storage.sqlite_file import SqliteState, look_at


@pytest.fixture
def fake(tmp_path: Path) -> FakeMachine:
    return FakeMachine(tmp_path / "root")


async def look(url: str, fake: FakeMachine) -> Report:
    return await examine(url, machine=fake.machine)


def names(report: Report) -> list[str]:
    """Without the disk of the tests, which may be memory."""
    return [finding.name for finding in report.findings if finding.name != "fsync-too-fast"]


async def filled(path: Path) -> None:
    storage = open_storage(f"sqlite:///{path}")
    await storage.connect()
    await storage.write([Transaction((), (Put(f"player:{number}", bytes(500)),)) for number in range(200)])
    await storage.disconnect()


def commit_with_journal(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)


async def test_a_sqlite_file_is_examined_beside_its_server_and_not_changed(tmp_path: Path, fake: FakeMachine) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/realm.db")
    await storage.connect()
    await storage.write([Transaction((), (Put("player:1", b"x"),))])
    report = await look(f"sqlite:///{tmp_path}/realm.db", fake)
    assert (names(report), report.unexamined, report.outcome) == ([], (), "examined")
    assert report.promise.startswith("This store promises: acknowledged operations survive")
    assert await storage.load("player:1") == b"x"
    await storage.disconnect()


async def test_a_file_that_another_program_took_out_of_its_log_is_found(tmp_path: Path, fake: FakeMachine) -> None:
    path = tmp_path / "realm.db"
    await filled(path)

    await asyncio.to_thread(commit_with_journal, path)
    assert names(await look(f"sqlite:///{path}", fake)) == ["no-write-ahead-log"]
    await filled(path)  # a start mends it
    assert names(await look(f"sqlite:///{path}", fake)) == []


async def test_a_damaged_file_is_found_and_promises_nothing(tmp_path: Path, fake: FakeMachine) -> None:
    path = tmp_path / "realm.db"
    await filled(path)
    content = bytearray(await asyncio.to_thread(path.read_bytes))
    content[3 * 4096 : 4 * 4096] = bytes(range(256)) * 16
    await asyncio.to_thread(path.write_bytes, content)
    report = await look(f"sqlite:///{path}", fake)
    assert names(report) == ["file-damaged"]
    assert report.promise == "This store promises: nothing, because its file is damaged."


async def test_a_file_system_in_memory_is_found_under_a_sqlite_file(tmp_path: Path, fake: FakeMachine) -> None:
    await filled(tmp_path / "realm.db")
    fake.write("proc/self/mountinfo", f"1 1 0:1 / {tmp_path.resolve()} rw - tmpfs tmpfs rw")
    report = await look(f"sqlite:///{tmp_path}/realm.db", fake)
    assert "files-in-memory" in names(report)
    assert report.promise == "This store promises: nothing survives a restart of the machine."


async def test_a_sqlite_that_takes_no_full_synchronous_is_found(tmp_path: Path) -> None:
    path = tmp_path / "realm.db"
    await filled(path)
    state = await asyncio.to_thread(look_at, path)
    assert [*state_findings(state)] == []
    weak = SqliteState(state.path, state.journal_mode, 1, state.damage, state.files_bytes)
    assert [finding.name for finding in state_findings(weak)] == ["no-fsync-at-commit"]


@pytest.mark.parametrize("url", ["sqlite:///{}/none.db", "embedded:///{}/none"])
async def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, fake: FakeMachine, url: str) -> None:
    report = await look(url.format(tmp_path), fake)
    assert (report.outcome, names(report)) == ("unavailable", [])
    assert "there is no store in" in report.error
    assert {path.name for path in tmp_path.iterdir()} == {"root"}


async def test_a_foreign_file_is_a_matter_of_settings(tmp_path: Path, fake: FakeMachine) -> None:
    await asyncio.to_thread((tmp_path / "realm.db").write_bytes, b"a letter, not a database" * 100)
    assert (await look(f"sqlite:///{tmp_path}/realm.db", fake)).outcome == "misconfigured"


async def test_an_embedded_store_is_examined_beside_its_server(tmp_path: Path, fake: FakeMachine) -> None:
    url = f"embedded:///{tmp_path}/store"
    storage = open_storage(url)
    await storage.connect()
    fake.write(f"proc/{storage.capability.process_id}/comm", "valkey-server")
    report = await look(url, fake)
    assert (report.outcome, names(report)) == ("examined", [])
    assert report.engine.startswith("valkey 9.")
    await storage.disconnect()
    report = await look(url, fake)
    assert (report.outcome, names(report)) == ("unavailable", [])
    assert "it runs while its server runs" in report.error


async def test_a_fix_of_an_embedded_store_holds_until_its_next_start(tmp_path: Path, fake: FakeMachine) -> None:
    url = f"embedded:///{tmp_path}/store"
    storage = open_storage(url)
    await storage.connect()
    fake.write(f"proc/{storage.capability.process_id}/comm", "valkey-server")
    weakened = Finding("test", "advice", "a", "b", "c", (("rdbcompression", "no"),))
    assert (await mend(url, [weakened])).mended[0].error == ""
    (finding,) = [each for each in (await look(url, fake)).findings if each.settings]
    assert finding.name == "snapshots-uncompressed"
    mending = await mend(url, [finding])
    assert (mending.mended[0].error, mending.kept) == ("", False)
    assert "the next start" in mending.why_not
    assert names(await look(url, fake)) == []
    await storage.disconnect()


async def test_the_disk_of_a_stopped_embedded_store_is_examined(tmp_path: Path, fake: FakeMachine) -> None:
    (tmp_path / "store").mkdir()
    fake.write("proc/self/mountinfo", f"1 1 0:1 / {tmp_path.resolve()} rw - overlay overlay rw")
    report = await look(f"embedded:///{tmp_path}/store", fake)
    assert (report.outcome, names(report)) == ("unavailable", ["files-in-a-container"])


async def test_a_store_in_memory_promises_nothing(fake: FakeMachine) -> None:
    report = await look("memory://", fake)
    assert names(report) == ["store-in-memory"]
    assert report.promise == "This store promises: nothing outlives this process."


async def test_a_url_of_no_store_is_an_error(fake: FakeMachine) -> None:
    with pytest.raises(ConfigError, match="storage URL has 'http'"):
        await look("http://example.org", fake)


def test_the_fastest_disks_are_no_liars() -> None:
    assert FSYNC_S_MIN == 20e-6
