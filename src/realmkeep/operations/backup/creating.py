"""Making a backup: snapshot, files, a first restore of them, and the manifest last."""

from __future__ import annotations

import asyncio
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep.config import mask_url
from realmkeep.errors import BackupError
from realmkeep.files import make_directory, sync_directory
from realmkeep.operations.backup.catalogue import list_backups
from realmkeep.operations.backup.census import NOTHING
from realmkeep.operations.backup.examining import judge, load_backup
from realmkeep.operations.backup.manifest import Manifest, VerdictNote, create_manifest, name_of, write_note
from realmkeep.operations.backup.packing import new_identity, pack
from realmkeep.operations.backup.workplace import locked, workplace
from realmkeep.storage.snapshots import pin_snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from realmkeep.clock import Clock
    from realmkeep.operations.backup.examining import Verification
    from realmkeep.operations.backup.game import Game
    from realmkeep.storage.snapshots import PinnedSnapshot


POLL_S: Final = 0.05


@dataclass(frozen=True)
class CreatedBackup:
    """A new backup, and the verdict of its first restore."""

    manifest: Manifest
    finding: Verification


async def create_backup(
    url: str, directory: Path, game: Game, *, recipients: tuple[str, ...] = (), clock: Clock
) -> CreatedBackup:
    """Back a live store up, restore the files into a scratch store, count them, and write the manifest last.

    The files of an encrypted backup are encrypted for one more key, which lives in this process only: so the first restore
    reads the very files that are kept, although the machine holds public keys only.

    Args:
        url: The store.
        directory: The directory of the backups; made if absent.
        game: The record classes.
        recipients: The age recipients; none for plain files.
        clock: The clock.

    Raises:
        BackupBusy: Another process makes or prunes backups there.
        BackupError: There is a backup of this second already, or the snapshot is not of this store.
        BackupDamaged: The written files cannot be read back.
        StorageError: The store or the scratch store does not answer, or has no files here.
        OSError: A file cannot be written.
    """
    directory = await asyncio.to_thread(make_directory, directory, closed=True)
    async with locked(directory):
        await asyncio.to_thread(remove_incomplete, directory)
        while await asyncio.to_thread((directory / name_of(clock.wall_us())).exists):
            await clock.sleep(POLL_S)  # one backup a second: the second is its name
        own = new_identity() if recipients else None
        async with workplace(directory, clock) as work, pin_snapshot(url, work, clock) as pinned:
            path = directory / name_of(pinned.taken_us)
            manifest = await asyncio.to_thread(_pack_all, path, pinned, recipients, own)
        try:
            manifest = await _counted(path, manifest, game, own, clock)
            if manifest.census.store_id != pinned.store_id:
                raise BackupError(
                    f"the snapshot that was found is not of the store {mask_url(url)}: it has another id",
                    hint="run the backup on the machine of the store",
                )
            await asyncio.to_thread(create_manifest, path, manifest)
        except BaseException:
            await asyncio.to_thread(shutil.rmtree, path)
            raise
        finding = judge(manifest, manifest.census)
        if finding.verdict == "good":
            note = VerdictNote(verdict="good", why="", at_us=clock.wall_us(), digest=manifest.digest)
            await asyncio.to_thread(write_note, path, note)
        return CreatedBackup(manifest, finding)


def remove_incomplete(directory: Path) -> None:
    """Remove the backups without a manifest, which a killed process left behind. The caller holds the lock. Blocks.

    Raises:
        OSError: One cannot be removed.
    """
    for each in list_backups(directory):
        if each.state == "incomplete":
            shutil.rmtree(directory / each.name)


def _pack_all(path: Path, pinned: PinnedSnapshot, recipients: tuple[str, ...], own: Any | None) -> Manifest:
    try:
        path.mkdir(0o700)
    except FileExistsError as error:
        raise BackupError(f"there is a backup {path.name} already", hint="wait a second") from error
    try:
        files = tuple(pack(each, path, recipients, own) for each in pinned.files)
        sync_directory(path)
        sync_directory(path.parent)
    except BaseException:
        shutil.rmtree(path)
        raise
    return Manifest(
        name=path.name,
        realmkeep=version("realmkeep"),
        engine=pinned.engine,
        version=pinned.version,
        taken_us=pinned.taken_us,
        files=files,
        recipients=recipients,
        census=NOTHING,
        log_from_s=pinned.log_from_s,
        log_to_s=pinned.log_to_s,
        log_reason=pinned.log_reason,
    )


async def _counted(path: Path, manifest: Manifest, game: Game, own: Any | None, clock: Clock) -> Manifest:
    """Restore what was written, and return the manifest with its census."""
    identities = () if own is None else (own,)
    census = await load_backup(path, manifest, game, identities=identities, clock=clock)
    return msgspec.structs.replace(manifest, census=census).sealed()
