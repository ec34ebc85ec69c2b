"""The archiver: segments in a chain, gaps, full targets, stores that come back older, retention."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import msgspec
import pytest

from operations.journal.journaled import SERVER, Purse, archived, archiver_of, files, notes_in, open_keeper, pay
from realmkeep.errors import JournalDamaged, JournalUnavailable
from realmkeep.keeping import Keeper, Session
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.writing.journal_entries import GapEntry
from realmkeep.keys import server_journal, server_journaled
from realmkeep.operations.journal.archiver import DAY_US, Archiver
from realmkeep.operations.journal.archives import FileArchive
from realmkeep.operations.journal.sealing import TakenOut
from realmkeep.operations.journal.segments import Manifest, make_segment, read_segment
from realmkeep.operations.journal.verifying import verify_archive
from realmkeep.storage import Append, Delete, Put, Transaction
from realmkeep.testing.lab import abandon

pytestmark = pytest.mark.backend("sqlite")


class FullArchive(FileArchive):
    """Files on a disk that may be full."""

    full = False

    async def write_file(self, path: Path, content: bytes) -> None:
        if self.full:
            raise JournalUnavailable("no space left on device", hint="make room")
        await super().write_file(path, content)


class Players:
    """A keeper with two players, and the payments between them."""

    def __init__(self, keeper: Keeper, one: Session[Purse], two: Session[Purse]) -> None:
        self.keeper, self.one, self.two, self.paid = keeper, one, two, 0

    async def pay(self, times: int) -> None:
        for _ in range(times):
            self.paid += 1
            await self.keeper.commit(partial(pay, note=str(self.paid)), self.one, self.two)

    @property
    def notes(self) -> list[str]:
        return [str(number) for number in range(1, self.paid + 1)]


async def opened(directory: Path, *, backlog_bytes_max: int = 1024 * 1024) -> Players:
    url = f"sqlite:///{directory}/store.db"
    keeper = await open_keeper(url, directory, backlog_bytes_max=backlog_bytes_max)
    one, two = [await keeper.login(Purse, number, create=lambda: Purse(gold=10_000)) for number in (1, 2)]
    return Players(keeper, one, two)


@pytest.fixture
async def players(tmp_path: Path) -> AsyncIterator[Players]:
    found = await opened(tmp_path, backlog_bytes_max=64 * 1024)
    yield found
    await found.keeper.close()


async def test_entries_move_into_segments_of_a_chain(players: Players, tmp_path: Path) -> None:
    archive = files(tmp_path)
    archiver = archiver_of(players.keeper, archive)
    for _ in range(3):
        await players.pay(5)
        await archiver.archive_all()
        assert archiver.trouble == ""
    storage = engine_of(players.keeper).storage
    assert await storage.load_list(server_journal(SERVER)) == []
    manifests = [await archive.manifest(SERVER, number) for number in await archive.numbers(SERVER)]
    assert [each.number for each in manifests] == [1, 2, 3]
    assert [each.before for each in manifests] == ["", manifests[0].sha256, manifests[1].sha256]
    assert manifests[2].records == ("purse:1", "purse:2")
    assert await storage.load(server_journaled(SERVER)) == manifests[2].mark
    assert notes_in(await archived(archive)) == players.notes
    assert (archiver.segments, archiver.entries) == (3, 2 + 15)
    assert engine_of(players.keeper).journal.backlog_bytes == 0
    assert (await verify_archive(archive, storage)).faults == ()


async def test_a_full_target_makes_a_gap_and_play_goes_on(players: Players, tmp_path: Path) -> None:
    archive, storage = FullArchive(tmp_path / "archive"), engine_of(players.keeper).storage
    archiver = archiver_of(players.keeper, archive)
    archive.full = True
    for _ in range(20):
        await players.pay(20)
        await archiver.archive_all()
    assert "no space left" in archiver.trouble
    assert any("journal has a gap" in each for each in players.keeper.degraded)
    missed = players.keeper.status().journal_missed
    assert 0 < missed < players.paid
    stored = await players.keeper.table(Purse).load(2)
    assert stored is not None
    assert stored.gold == 10_000 + players.paid
    archive.full = False
    await archiver.archive_all()
    assert archiver.trouble == ""
    assert players.keeper.degraded == ()
    await players.pay(3)
    async with asyncio.timeout(20):
        while not any(b'"missed"' in each for each in await storage.load_list(server_journal(SERVER))):
            await asyncio.sleep(0.02)
    await archiver.archive_all()
    entries = await archived(archive)
    gaps = [entry for entry in entries if isinstance(entry, GapEntry)]
    assert [gap.missed for gap in gaps] == [0, missed]
    found = notes_in(entries)
    assert found == [*players.notes[: players.paid - 3 - missed], *players.notes[-3:]]
    assert (await verify_archive(archive, storage)).gaps == 2


async def test_a_store_that_comes_back_older_doubles_nothing(tmp_path: Path) -> None:
    players = await opened(tmp_path)
    archive = files(tmp_path)
    await players.pay(5)
    await archiver_of(players.keeper, archive).archive_all()
    storage = engine_of(players.keeper).storage
    older_mark = await storage.load(server_journaled(SERVER))
    await players.pay(5)
    older = await storage.load_list(server_journal(SERVER))
    for _ in range(2):
        await archiver_of(players.keeper, archive).archive_all()
        await players.pay(5)
    newest = await storage.load_list(server_journal(SERVER))
    assert older_mark is not None
    await storage.write(
        [
            Transaction((), (Delete(server_journal(SERVER)), Put(server_journaled(SERVER), older_mark))),
            Transaction((), [Append(server_journal(SERVER), each) for each in (*older, *newest)]),
        ]
    )
    archiver = archiver_of(players.keeper, archive)
    await archiver.archive_all()
    assert archiver.trouble == ""
    assert notes_in(await archived(archive)) == players.notes
    last = (await archive.numbers(SERVER))[-1]
    assert (await archive.manifest(SERVER, last)).returned
    assert (await verify_archive(archive, storage)).returned == (f"{SERVER} {last}",)
    await players.keeper.close()


async def test_an_archive_that_is_gone_goes_on_with_its_numbers(players: Players, tmp_path: Path) -> None:
    await players.pay(5)
    await archiver_of(players.keeper, files(tmp_path)).archive_all()
    first = await files(tmp_path).manifest(SERVER, 1)
    elsewhere = FileArchive(tmp_path / "elsewhere")
    await players.pay(5)
    await archiver_of(players.keeper, elsewhere).archive_all()
    (number,) = await elsewhere.numbers(SERVER)
    assert number == 2
    assert (await elsewhere.manifest(SERVER, 2)).before == first.sha256
    assert notes_in(await archived(elsewhere)) == players.notes[5:]


async def test_two_archivers_of_one_server_do_not_drop_what_the_other_lacks(players: Players, tmp_path: Path) -> None:
    one, two = archiver_of(players.keeper, files(tmp_path)), archiver_of(players.keeper, files(tmp_path))
    await players.pay(2)
    await one.archive_all()
    await players.pay(2)
    await two.archive_all()
    await players.pay(2)
    await one.archive_all()
    assert one.trouble
    await one.archive_all()
    assert one.trouble == ""
    assert notes_in(await archived(files(tmp_path))) == players.notes


async def test_an_archiver_drops_nothing_under_the_mark_of_another(players: Players, tmp_path: Path) -> None:
    one = archiver_of(players.keeper, files(tmp_path))
    two = archiver_of(players.keeper, FileArchive(tmp_path / "elsewhere"))
    await players.pay(2)
    await one.archive_all()
    await players.pay(2)
    await two.archive_all()
    await players.pay(2)
    waiting = await engine_of(players.keeper).storage.load_list(server_journal(SERVER))
    await one.archive_all()
    assert "changed by another program" in one.trouble
    assert await engine_of(players.keeper).storage.load_list(server_journal(SERVER)) == waiting


async def test_whole_segments_are_removed_when_they_are_old(players: Players, tmp_path: Path) -> None:
    archive = files(tmp_path)
    archiver = archiver_of(players.keeper, archive)
    for _ in range(4):
        await players.pay(2)
        await archiver.archive_all()
    for number in (1, 2):
        old = await archive.manifest(SERVER, number)
        path = tmp_path / "archive" / SERVER / f"{number:010}.json"
        path.write_bytes(_aged(old).encode())
    retaining = Archiver(players.keeper, archive, interval_s=60, keep_days=30)
    await retaining.archive_all()
    assert retaining.trouble == ""
    assert await archive.numbers(SERVER) == [3, 4]
    assert not (tmp_path / "archive" / SERVER / "0000000001.jsonl.zst").exists()
    report = await verify_archive(archive, engine_of(players.keeper).storage)
    assert report.faults == ()
    assert report.begins == {SERVER: 3}


def _aged(manifest: Manifest) -> Manifest:
    return msgspec.structs.replace(manifest, first_us=0, last_us=manifest.last_us - 31 * DAY_US)


async def test_changed_segments_are_found(players: Players, tmp_path: Path) -> None:
    archive = files(tmp_path)
    archiver = archiver_of(players.keeper, archive)
    for _ in range(3):
        await players.pay(3)
        await archiver.archive_all()
    storage = engine_of(players.keeper).storage
    directory = tmp_path / "archive" / SERVER
    second, whole = directory / "0000000002.jsonl.zst", (directory / "0000000002.jsonl.zst").read_bytes()
    second.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    (fault,) = (await verify_archive(archive, storage)).faults
    assert "segment 2 of town-1 is not as it was written" in fault
    second.write_bytes(whole)
    manifest = directory / "0000000002.json"
    kept = manifest.read_bytes()
    manifest.unlink()
    assert any("segment 2 of town-1 is missing" in each for each in (await verify_archive(archive, storage)).faults)
    manifest.write_bytes(kept)
    (directory / "0000000003.json").unlink()
    assert any("the store's mark" in each for each in (await verify_archive(archive, storage)).faults)


async def test_a_segment_replaced_with_its_manifest_breaks_the_chain(players: Players, tmp_path: Path) -> None:
    archive = files(tmp_path)
    archiver = archiver_of(players.keeper, archive)
    for _ in range(3):
        await players.pay(3)
        await archiver.archive_all()
    directory = tmp_path / "archive" / SERVER
    manifest = await archive.manifest(SERVER, 2)
    lines = read_segment(manifest, await archive.read(manifest)).stored

    forged, packed = make_segment(
        SERVER, await archive.manifest(SERVER, 1), None, TakenOut(lines[:-1], ""), {}, returned=False
    )
    (directory / "0000000002.jsonl.zst").write_bytes(packed)
    (directory / "0000000002.json").write_bytes(forged.encode())
    (fault,) = (await verify_archive(archive, engine_of(players.keeper).storage)).faults
    assert "segment 3 of town-1 follows another segment 2" in fault


async def test_another_segment_of_the_same_number_is_refused(players: Players, tmp_path: Path) -> None:
    archive = files(tmp_path)
    await players.pay(1)
    await archiver_of(players.keeper, archive).archive_all()
    manifest = await archive.manifest(SERVER, 1)
    await archive.put(manifest, await archive.read(manifest))
    with pytest.raises(JournalDamaged, match="another segment"):
        await archive.put(_aged(manifest), b"")


async def test_a_list_with_something_else_is_reported(players: Players, tmp_path: Path) -> None:
    storage = engine_of(players.keeper).storage
    await storage.write([Transaction((), (Append(server_journal(SERVER), b"theirs"),))])
    archiver = archiver_of(players.keeper, files(tmp_path))
    await archiver.archive_all()
    assert "cannot be read" in archiver.trouble
    await players.pay(1)


async def test_what_a_killed_server_left_is_archived_by_the_next(tmp_path: Path) -> None:
    players = await opened(tmp_path)
    await players.pay(4)
    storage = engine_of(players.keeper).storage
    abandon(players.keeper)
    await storage.disconnect()
    keeper = await open_keeper(f"sqlite:///{tmp_path}/store.db", tmp_path)
    await archiver_of(keeper, files(tmp_path)).archive_all()
    assert notes_in(await archived(files(tmp_path))) == players.notes
    await keeper.close()
