"""Every kind of archive keeps the same promises: files, a bucket of a real S3 server, a real PostgreSQL."""

import secrets
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from operations.journal.journaled import SERVER, Purse, archived, archiver_of, notes_in, open_keeper, pay
from realmkeep.errors import ConfigError, JournalDamaged, JournalUnavailable
from realmkeep.keeping.keeper import engine_of
from realmkeep.operations.journal.archive import Archive
from realmkeep.operations.journal.archives import open_archive
from realmkeep.operations.journal.sealing import TakenOut
from realmkeep.operations.journal.segments import Manifest, make_segment
from realmkeep.operations.journal.verifying import verify_archive

if TYPE_CHECKING:
    from realmkeep.testing.postgres_server import PostgresServer

SERVER_PROGRAM = "from moto.server import main; main(['-H', '127.0.0.1', '-p', '0'])"
ENTRY = b'{"type":"gap","run":1,"seq":1,"at":5,"since":4}'
KINDS = [
    pytest.param("file", marks=pytest.mark.backend("sqlite")),
    pytest.param("s3", marks=pytest.mark.backend("sqlite")),
    pytest.param("postgresql", marks=pytest.mark.backend("postgresql")),
]


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3 server of this machine; it lives as long as the tests of this file."""
    with subprocess.Popen([sys.executable, "-c", SERVER_PROGRAM], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        for line in server.stderr:
            if "Running on" in line:
                yield line.split()[-1]
                break
        server.kill()


def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"b{secrets.token_hex(8)}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{name}", method="PUT")).close()
    for variable, value in {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_ACCESS_KEY_ID": "realm",
        "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(variable, value)
    return f"s3://{name}/realm"


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "file":
        yield f"file:///{tmp_path}/archive"
    elif request.param == "s3":
        yield bucket(request.getfixturevalue("endpoint"), monkeypatch)
    else:
        server: PostgresServer = request.getfixturevalue("postgres")
        name = f"journal_{secrets.token_hex(6)}"
        yield server.new_schema(name)
        server.ask(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
async def archive(url: str) -> AsyncIterator[Archive]:
    opened = open_archive(url)
    yield opened
    await opened.close()


def segment(number: int, before: Manifest | None = None) -> tuple[Manifest, bytes]:
    mark = None if number == 1 else b"%d %064d" % (number - 1, 0)
    return make_segment(SERVER, before, mark, TakenOut([ENTRY], ""), {}, returned=False)


async def test_the_journal_of_a_server_moves_into_it(archive: Archive, tmp_path: Path) -> None:
    keeper = await open_keeper(f"sqlite:///{tmp_path}/store.db", tmp_path)
    one, two = [await keeper.login(Purse, number, create=lambda: Purse(gold=100)) for number in (1, 2)]
    archiver = archiver_of(keeper, archive)
    for note in "abc":
        await keeper.commit(lambda payer, payee, note=note: pay(payer, payee, note=note), one, two)
        await archiver.archive_all()
        assert archiver.trouble == ""
    assert notes_in(await archived(archive)) == ["a", "b", "c"]
    report = await verify_archive(archive, engine_of(keeper).storage)
    assert (report.segments, report.faults) == (3, ())
    await keeper.close()


async def test_a_segment_is_kept_once_and_never_replaced(archive: Archive) -> None:
    manifest, packed = segment(1)
    for _ in range(2):
        await archive.put(manifest, packed)
    assert (await archive.servers(), await archive.numbers(SERVER)) == ([SERVER], [1])
    assert await archive.manifest(SERVER, 1) == manifest
    assert await archive.read(manifest) == packed
    other = msgspec.structs.replace(manifest, entries=2)
    with pytest.raises(JournalDamaged, match="another segment"):
        await archive.put(other, b"other")
    assert await archive.read(manifest) == packed


async def test_the_key_of_a_person_is_made_once_and_destroyed_for_ever(archive: Archive) -> None:
    one, two = "purse:1", "purse:" + 128 * "\U0001f5dd"
    assert (await archive.persons(), await archive.person_keys([one, two])) == ([], {})
    assert await archive.add_person_key(one, b"a" * 32) == b"a" * 32
    assert await archive.add_person_key(one, b"b" * 32) == b"a" * 32
    await archive.add_person_key(two, b"c" * 32)
    assert await archive.person_keys([one, "purse:3", two]) == {one: b"a" * 32, two: b"c" * 32}
    for person in (one, "purse:3"):
        await archive.erase_person(person)
        assert await archive.add_person_key(person, b"b" * 32) == b""
    assert await archive.person_keys([one, "purse:3", two]) == {one: b"", "purse:3": b"", two: b"c" * 32}
    assert sorted(await archive.persons()) == [one, "purse:3", two]
    assert await archive.servers() == []


async def test_segments_are_in_order_and_removed_wholly(archive: Archive) -> None:
    for number in (10, 9, 2):
        await archive.put(*segment(number))
    assert await archive.numbers(SERVER) == [2, 9, 10]
    await archive.remove(segment(2)[0])
    assert await archive.numbers(SERVER) == [9, 10]
    with pytest.raises(JournalDamaged, match="missing"):
        await archive.manifest(SERVER, 2)
    with pytest.raises(JournalDamaged, match="missing"):
        await archive.read(segment(2)[0])
    assert await archive.numbers("elsewhere") == []


@pytest.mark.parametrize("kind", ["s3", "postgresql"])
async def test_an_archive_that_cannot_be_reached_says_so(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("realmkeep.operations.bucket.RETRIES_MAX", 0)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    url = "s3://none/realm" if kind == "s3" else "postgresql://ann:geheim@127.0.0.1:9/none"
    archive = open_archive(url)
    with pytest.raises(JournalUnavailable) as raised:
        await archive.numbers(SERVER)
    assert "geheim" not in str(raised.value)
    with pytest.raises(JournalUnavailable):
        await archive.put(*segment(1))
    await archive.close()


@pytest.mark.parametrize("url", ["", "nowhere", "ftp://x", "file://host/x", "file:///", "http://["])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"journal\.url"):
        open_archive(url)
