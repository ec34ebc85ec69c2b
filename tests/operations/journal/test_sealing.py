"""The parts of a person in segments are under a key of the person: without it nothing reads them, and the chain stays whole."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import pytest

from operations.journal.journaled import SERVER, Purse, files, notes_in, open_keeper, pay
from realmkeep.keeping import Keeper
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.writing.journal_entries import (
    CommitEntry,
    JournalEntry,
    RecordChange,
    SnapshotEntry,
    encode_entry,
)
from realmkeep.operations.journal.archiver import Archiver
from realmkeep.operations.journal.archives import FileArchive
from realmkeep.operations.journal.history import History, RecordState, moves, state_at
from realmkeep.operations.journal.recent import recent_entries
from realmkeep.operations.journal.sealing import ERASED, TakenOut, new_key, person_of
from realmkeep.operations.journal.segments import Manifest, make_segment, read_segment
from realmkeep.operations.journal.verifying import verify_archive

KEY, OTHER = new_key(), new_key()


def entries() -> list[bytes]:
    trade = CommitEntry(
        1,
        1,
        5,
        "trade",
        (
            RecordChange("player:7", 9, 0, {"name": ["Ada", "Adele"]}),
            RecordChange("player:8:bank", 9, 0, {"gold": [1, 2]}),
        ),
    )
    trade.letters = (("player:7", {"serial": 3}), ("guild:1", {"sealed": 1}))
    trade.created = (("player:9", {"version": 1}),)
    return [
        encode_entry(each)
        for each in (trade, SnapshotEntry(1, 2, 6, "player:7", 9, "release", {"version": 1, "name": "Adele"}))
    ]


def sealed(kind: str, keys: dict[str, bytes]) -> tuple[Manifest, bytes]:
    return make_segment(SERVER, None, None, TakenOut(entries(), kind), keys, returned=False)


def test_a_record_belongs_to_the_person_of_its_id() -> None:
    assert [person_of(key, "player") for key in ("player:7", "player:7:bank", "guild:7", "playerx:7")] == [
        "player:7",
        "player:7",
        None,
        None,
    ]


def test_parts_come_back_with_their_keys_and_are_erased_without() -> None:
    keys = {"player:7": KEY, "player:8": OTHER, "player:9": OTHER}
    manifest, packed = sealed("player", keys)
    segment = read_segment(manifest, packed)
    assert manifest.records == ("guild:1", "player:7", "player:8:bank", "player:9")
    assert not any(word in line for line in segment.stored for word in (b"Ad", b"gold", b'"serial"'))
    assert segment.unsealed(manifest, keys) == entries()
    first, second = [msgspec.json.decode(each) for each in segment.unsealed(manifest, {**keys, "player:7": b""})]
    assert [change["fields"] for change in first["records"]] == [ERASED, {"gold": [1, 2]}]
    assert first["letters"] == [["player:7", ERASED], ["guild:1", {"sealed": 1}]]
    assert second["stored"] == ERASED
    assert segment.unsealed(manifest, {}) == segment.unsealed(manifest, dict.fromkeys(keys, new_key()))
    moved = msgspec.structs.replace(manifest, number=2)
    assert segment.unsealed(moved, keys) == segment.unsealed(manifest, {})


def test_an_erased_person_leaves_no_part_and_a_game_without_persons_seals_none() -> None:
    manifest, packed = sealed("player", {"player:7": b"", "player:8": OTHER, "player:9": OTHER})
    assert [each.person for each in read_segment(manifest, packed).sealed] == ["player:8", "player:9"]
    manifest, packed = sealed("", {})
    segment = read_segment(manifest, packed)
    assert (segment.stored, segment.sealed, segment.unsealed(manifest, {})) == (entries(), [], entries())


def test_a_segment_of_the_first_format_is_read() -> None:
    golden = Path(__file__).parent / "golden"
    manifest = Manifest.decode((golden / "0000000001.json").read_bytes(), "golden")
    segment = read_segment(manifest, (golden / "0000000001.jsonl.zst").read_bytes())
    assert (manifest.format, segment.unsealed(manifest, {})) == (1, entries())


@asynccontextmanager
async def players(directory: Path) -> AsyncGenerator[tuple[Keeper, Archiver, FileArchive]]:
    keeper = await open_keeper("memory://", directory)
    archive = files(directory)
    one, two = [await keeper.login(Purse, number, create=lambda: Purse(gold=100)) for number in (1, 2)]
    for note in "ab":
        await keeper.commit(partial(pay, note=f"secret {note}"), one, two)
    yield keeper, Archiver(keeper, archive, interval_s=60, keep_days=0, players=Purse), archive
    await keeper.close()


async def read(keeper: Keeper, archive: FileArchive) -> list[JournalEntry]:
    history = History(archive, engine_of(keeper).storage)
    return [each.entry async for each in history.entries(lambda _: True, lambda _: True)]


async def test_the_archive_of_a_server_forgets_one_person(tmp_path: Path) -> None:
    async with players(tmp_path) as (keeper, archiver, archive):
        await archiver.archive_all()
        assert archiver.trouble == ""
        assert sorted(await archive.persons()) == ["purse:1", "purse:2"]
        assert notes_in(await read(keeper, archive)) == ["secret a", "secret b"]
        assert notes_in([each.entry for each in await recent_entries(archive, "purse:2", 1)]) == ["secret b"]
        await archive.erase_person("purse:2")
        one, two = [keeper.session(Purse, number) for number in (1, 2)]
        assert one is not None
        assert two is not None
        await keeper.commit(partial(pay, note="late"), one, two)
        for _ in range(2):  # as it waits in the store, and in the archive
            found = await read(keeper, archive)
            commits = [each for each in found if isinstance(each, CommitEntry)]
            assert [[change.fields for change in each.records] for each in commits] == [
                [{"gold": [100 - paid, 99 - paid]}, ERASED] for paid in range(3)
            ]
            await archiver.archive_all()
        again = Archiver(keeper, archive, interval_s=60, keep_days=0, players=Purse)  # remembers no key
        await keeper.commit(partial(pay, note="latest"), one, two)
        await again.archive_all()
        segment = read_segment(last := await archive.manifest(SERVER, 3), await archive.read(last))
        assert [each.person for each in segment.sealed] == ["purse:1"]
        assert (await verify_archive(archive, engine_of(keeper).storage)).faults == ()
        state = state_at(
            "purse:2",
            await History(archive, engine_of(keeper).storage).of_record("purse:2"),
            1 << 62,
            RecordState(frozenset({"gold"})),
        )
        assert state.at(1 << 62) == {}


async def test_a_lost_key_is_a_fault_and_an_erased_one_is_none(tmp_path: Path) -> None:
    async with players(tmp_path) as (keeper, archiver, archive):
        await archiver.archive_all()
        (one, two) = sorted((tmp_path / "archive" / "_keys").iterdir())
        content = one.read_bytes()
        one.unlink()
        (fault,) = (await verify_archive(archive, engine_of(keeper).storage)).faults
        assert fault.startswith("the keys of 1 persons are missing or others: purse:")
        one.write_bytes(content.replace(content[-60:-30], two.read_bytes()[-60:-30]))
        one.chmod(0o600)
        assert len((await verify_archive(archive, engine_of(keeper).storage)).faults) == 1
        for person in ("purse:1", "purse:2"):
            await archive.erase_person(person)
        assert (await verify_archive(archive, engine_of(keeper).storage)).faults == ()


async def test_an_item_is_traced_through_sealed_parts() -> None:
    entry = CommitEntry(1, 1, 5, "trade", (RecordChange("player:7", 9, 0, dict(ERASED)),))
    assert moves(entry, 3) == []


@pytest.mark.backend("sqlite")
async def test_a_key_is_made_once_by_the_first_of_two_servers(tmp_path: Path) -> None:
    archive = files(tmp_path)
    assert await archive.add_person_key("purse:1", KEY) == KEY
    assert await archive.add_person_key("purse:1", OTHER) == KEY
