"""Every finding about a Postgres, on a real server that has the one fault; and none on a healthy one."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from operations.doctor.fake_machine import FakeMachine
from realmkeep.operations.doctor import Report, examine
from realmkeep.operations.doctor.postgres import GRADES
from realmkeep.storage import open_storage
from realmkeep.storage.postgres.address import parse_postgres_url
from realmkeep.storage.postgres.server import ServerFacts, exposures, server_faults
from realmkeep.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.backend("postgresql")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    """A server of its own: its settings are changed."""
    with PostgresServer() as server:
        yield server


async def look(url: str, tmp_path: Path) -> Report:
    fake = await asyncio.to_thread(FakeMachine, tmp_path)
    report = await examine(url, machine=fake.machine)
    assert all(finding.what and finding.why and finding.mend for finding in report.findings)
    return report


async def test_a_healthy_database_has_no_findings_and_gets_no_tables(server: PostgresServer, tmp_path: Path) -> None:
    url = await asyncio.to_thread(server.new_schema, "healthy")
    report = await look(url, tmp_path)
    assert (report.outcome, report.findings) == ("examined", ())
    assert report.engine.startswith("postgresql ")
    assert report.promise == "This store promises: acknowledged operations survive a loss of power."
    assert any("the machine and the disk" in sentence for sentence in report.unexamined)
    tables = await asyncio.to_thread(server.ask, "SELECT to_regclass('healthy.realmkeep_entry')")
    assert tables == [(None,)]


@pytest.mark.parametrize(
    ("setting", "name", "grade", "promise"),
    [
        ("synchronous_commit", "asynchronous-commit", "warning", "a crash of the store may lose the last 0.6 s"),
        ("fsync", "fsync-off", "danger", "nothing survives a loss of power"),
        (
            "full_page_writes", "full-page-writes-off", "danger",
            "acknowledged operations survive a crash of the store, but not a loss of power",
        ),
    ],
)  # fmt: skip
async def test_each_setting_is_found_alone(
    server: PostgresServer, tmp_path: Path, setting: str, name: str, grade: str, promise: str
) -> None:
    def turned(to: str) -> None:
        server.set(**{setting: to})

    async def shown(value: str) -> None:
        async with asyncio.timeout(30):
            while await asyncio.to_thread(server.ask, f"SHOW {setting}") != [(value,)]:
                await asyncio.sleep(0.01)

    await asyncio.to_thread(turned, "off")
    await shown("off")
    try:
        report = await look(server.url, tmp_path)
    finally:
        await asyncio.to_thread(turned, "on")
        await shown("on")
    (finding,) = report.findings
    assert (finding.name, finding.grade) == (name, grade)
    assert promise in report.promise


async def test_unlogged_tables_are_found(server: PostgresServer, tmp_path: Path) -> None:
    url = await asyncio.to_thread(server.new_schema, "unlogged")
    storage = open_storage(url)
    await storage.connect()
    await storage.disconnect()
    await asyncio.to_thread(server.ask, "ALTER TABLE realmkeep_list SET UNLOGGED", schema="unlogged")
    report = await look(url, tmp_path)
    assert [finding.name for finding in report.findings] == ["tables-unlogged"]
    await asyncio.to_thread(server.ask, report.findings[0].mend, schema="unlogged")
    assert (await look(url, tmp_path)).findings == ()


def test_a_standby_that_is_not_waited_for_is_found() -> None:
    facts = ServerFacts(180_000, "18.0", False, False, "repeatable read", "UTF8", "on", True, True, 0.2, "", 1, "realm")  # noqa: FBT003
    assert [fault.name for fault in server_faults(facts)] == ["asynchronous-standby"]


async def test_a_database_that_is_away_is_unavailable(tmp_path: Path) -> None:
    report = await look(f"postgresql:///postgres?host={tmp_path}&user=realm&connect_timeout=2", tmp_path)
    assert (report.outcome, report.findings) == ("unavailable", ())


class Pgconn:
    """The facts of a connection over the network, as libpq tells them."""

    def __init__(self, host: str, *, used_password: bool, ssl_in_use: bool) -> None:
        self.host = host.encode()
        self.used_password = used_password
        self.ssl_in_use = ssl_in_use


@pytest.mark.parametrize(
    ("host", "used_password", "ssl_in_use", "query", "names"),
    [
        ("127.0.0.1", False, False, "", ["no-password"]),
        ("127.0.0.1", True, False, "", []),
        ("db.example.org", True, False, "", ["not-encrypted"]),
        ("db.example.org", True, True, "?sslmode=require", ["certificate-not-verified"]),
        ("db.example.org", True, True, "?sslmode=verify-full", []),
        ("/run/postgresql", False, False, "", []),
    ],
)
def test_the_ways_to_a_database_are_graded(
    host: str, used_password: bool, ssl_in_use: bool, query: str, names: list[str]
) -> None:
    class Connection:
        pgconn = Pgconn(host, used_password=used_password, ssl_in_use=ssl_in_use)

    address = parse_postgres_url(urlsplit(f"postgresql://realm@db.example.org/realm{query}"))
    found = [fault.name for fault in exposures(cast("Any", Connection()), address)]
    assert found == names
    assert GRADES.keys() >= {*found}
