"""Good, bad, inconclusive: what each verdict takes."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from operations.processes import lives
from operations.traders import CLOCK, GAME, Trader, trading
from realmkeep.errors import BackupError
from realmkeep.operations.backup import examining
from realmkeep.operations.backup.catalogue import backup_ages, list_backups
from realmkeep.operations.backup.census import count_store
from realmkeep.operations.backup.creating import create_backup
from realmkeep.operations.backup.examining import Verification, verify_backup
from realmkeep.operations.backup.game import Game
from realmkeep.operations.backup.holdings import Holdings, Tally
from realmkeep.operations.backup.manifest import Manifest, create_manifest, read_manifest, read_note
from realmkeep.operations.backup.packing import new_identity
from realmkeep.storage import Put, Storage, Transaction, open_storage
from realmkeep.storage.embedded import EmbeddedStorage

pytestmark = pytest.mark.backend("embedded")


@pytest.fixture
def realm(tmp_path: Path) -> str:
    return f"embedded:///{tmp_path}/realm"


@pytest.fixture
async def backup(realm: str, backups: Path) -> Manifest:
    async with trading(realm):
        """A realm with traders."""
    return (await create_backup(realm, backups, GAME, clock=CLOCK)).manifest


def count_nothing(_held: object, _tally: Tally) -> None:
    """A game that counts nothing."""


async def verified(backups: Path, backup: Manifest, game: Game = GAME) -> Verification:
    return await verify_backup(backups, backup.name, game, clock=CLOCK)


def note_of(backups: Path, backup: Manifest) -> str | None:
    note = read_note(backups / backup.name, backup)
    return None if note is None else note.verdict


def flip_a_bit(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("at", [0, 40, -1])
async def test_one_flipped_bit_of_a_file_is_bad(backups: Path, backup: Manifest, at: int) -> None:
    flip_a_bit(backups / backup.name / "snapshot.rdb", at)
    found = await verified(backups, backup)
    assert found.verdict == "bad"
    assert "snapshot.rdb is not as it was written" in found.why
    assert await asyncio.to_thread(note_of, backups, backup) == "bad"
    listed = await asyncio.to_thread(list_backups, backups)
    assert [each.state for each in listed] == ["bad"]
    assert (await asyncio.to_thread(backup_ages, backups)).verified_us is None


async def test_one_flipped_bit_of_the_manifest_is_bad(backups: Path, backup: Manifest) -> None:
    path = backups / backup.name / "manifest.json"
    flip_a_bit(path, path.read_bytes().index(b'"gold": 2000') + len('"gold": '))
    found = await verified(backups, backup)
    assert (found.verdict, "is not as it was written" in found.why) == ("bad", True)


@pytest.mark.parametrize("is_cut", [False, True])
async def test_a_missing_or_cut_file_is_bad(backups: Path, backup: Manifest, is_cut: bool) -> None:
    path = backups / backup.name / "snapshot.rdb"
    os.truncate(path, 100) if is_cut else path.unlink()
    assert (await verified(backups, backup)).verdict == "bad"


async def test_other_contents_are_bad_although_every_digest_fits(realm: str, backups: Path, backup: Manifest) -> None:
    """The census counts, and not only the digests: here the manifest names the digest of another state's file."""
    storage = open_storage(realm)
    await storage.connect()
    await storage.write([Transaction((), (Put("trader:1:updated", b"1"),))])
    await storage.disconnect()
    other = (await create_backup(realm, backups, GAME, clock=CLOCK)).manifest
    mixed = msgspec.structs.replace(other, census=backup.census).sealed()
    (backups / other.name / "manifest.json").write_bytes(mixed.encode())
    found = await verified(backups, other)
    assert found.verdict == "bad"
    assert "its contents are not those that were written: digest is" in found.why


async def test_a_good_backup_that_the_code_reads_otherwise_is_inconclusive(backups: Path, backup: Manifest) -> None:
    counts_nothing = Game(Holdings((Trader,), (), count_nothing), GAME.limits, accept_unchecked=False)
    found = await verified(backups, backup, counts_nothing)
    assert found.verdict == "inconclusive"
    assert "byte for byte" in found.why
    assert 'totals is {}, should be {"gold":2000}' in found.why
    assert await asyncio.to_thread(note_of, backups, backup) == "good"  # of its creation


async def test_a_kind_without_a_class_is_inconclusive(realm: str, backups: Path, backup: Manifest) -> None:
    shutil.rmtree(backups)
    knows_nothing = Game(Holdings((), (), count_nothing), GAME.limits, accept_unchecked=False)
    created = await create_backup(realm, backups, knows_nothing, clock=CLOCK)
    assert created.finding.verdict == "inconclusive"
    assert created.finding.why == "backup.holdings names no class for these: trader"
    assert [each.state for each in await asyncio.to_thread(list_backups, backups)] == ["unverified"]


async def test_a_record_that_was_unreadable_already_is_a_warning(realm: str, backups: Path) -> None:
    async with trading(realm):
        """A realm with traders."""
    storage = open_storage(realm)
    await storage.connect()
    await storage.write([Transaction((), (Put("trader:7", b"{]"),))])
    await storage.disconnect()
    created = await create_backup(realm, backups, GAME, clock=CLOCK)
    assert (created.manifest.census.unreadable_count, created.manifest.census.serials) == (1, 19)
    found = await verified(backups, created.manifest)
    assert found.verdict == "good"  # a true copy of what the realm had
    assert found.warnings[0].startswith("trader:7 could not be read when the backup was made: ")


async def test_a_scratch_store_that_is_killed_is_inconclusive(
    backups: Path, backup: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def count_of_a_killed_store(storage: Storage, *arguments: object, **named: object) -> object:
        assert isinstance(storage, EmbeddedStorage)
        pid = storage.capability.process_id
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        return await count_store(storage, *arguments, **named)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(examining, "count_store", count_of_a_killed_store)
    found = await verified(backups, backup)
    assert found.verdict == "inconclusive"
    assert await asyncio.to_thread(note_of, backups, backup) == "good"  # of its creation
    monkeypatch.undo()
    assert (await verified(backups, backup)).verdict == "good"


VERIFIER = """
import asyncio, sys
from pathlib import Path
from operations.traders import CLOCK, GAME
from realmkeep.operations.backup import examining

async def stop_here(storage, *_, **__):
    print(storage.capability.process_id, flush=True)
    await asyncio.Event().wait()

examining.count_store = stop_here
asyncio.run(examining.verify_backup(Path(sys.argv[1]), sys.argv[2], GAME, clock=CLOCK))
"""


async def test_a_killed_verifier_proves_nothing_and_leaves_nothing_behind(backups: Path, backup: Manifest) -> None:
    (backups / backup.name / "verdict.json").unlink()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", VERIFIER, str(backups), backup.name]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as verifier:
        assert verifier.stdout is not None
        store = int(await asyncio.to_thread(verifier.stdout.readline))
        verifier.kill()
    assert verifier.returncode == -signal.SIGKILL
    assert await asyncio.to_thread(note_of, backups, backup) is None
    assert [each.state for each in await asyncio.to_thread(list_backups, backups)] == ["unverified"]
    assert [path.name for path in backups.glob(".work-*")] != []
    assert lives(store)

    assert (await verified(backups, backup)).verdict == "good"
    assert [path.name for path in backups.glob(".work-*")] == []  # the next one tidies up
    assert not lives(store)


async def test_without_its_key_an_encrypted_backup_is_inconclusive(realm: str, backups: Path) -> None:
    async with trading(realm):
        """A realm with traders."""
    mine, theirs = new_identity(), new_identity()
    created = await create_backup(realm, backups, GAME, recipients=(str(mine.to_public()),), clock=CLOCK)
    name = created.manifest.name
    assert created.finding.verdict == "good"  # the very files were decrypted and loaded, by a key that is gone now
    stored = {path.name for path in (backups / name).iterdir()} - {"manifest.json", "verdict.json"}
    assert "snapshot.rdb.age" in stored
    assert {each[-4:] for each in stored} == {".age"}
    for identities, verdict in (((), "inconclusive"), ((theirs,), "inconclusive"), ((mine,), "good")):
        found = await verify_backup(backups, name, GAME, identities=identities, clock=CLOCK)
        assert found.verdict == verdict, found


async def test_a_backup_that_is_not_there_is_no_verdict(backups: Path, backup: Manifest) -> None:
    with pytest.raises(BackupError, match="there is no backup '20200101T000000Z'"):
        await verify_backup(backups, "20200101T000000Z", GAME, clock=CLOCK)


async def test_a_manifest_is_written_once(backups: Path, backup: Manifest) -> None:
    with pytest.raises(FileExistsError):
        await asyncio.to_thread(create_manifest, backups / backup.name, backup)
    assert await asyncio.to_thread(read_manifest, backups / backup.name) == backup
