"""Verification: a backup is restored into a scratch store, and every record goes through the loading path."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from realmkeep.errors import BackupDamaged, BackupError, StorageError
from realmkeep.keys import SERVER_STORE_ID
from realmkeep.operations.backup.catalogue import find_backup
from realmkeep.operations.backup.census import count_store
from realmkeep.operations.backup.manifest import VerdictNote, write_note
from realmkeep.operations.backup.packing import check_files
from realmkeep.operations.backup.scratch import scratch_store
from realmkeep.operations.backup.workplace import workplace

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from realmkeep.clock import Clock
    from realmkeep.operations.backup.census import Census
    from realmkeep.operations.backup.game import Game
    from realmkeep.operations.backup.manifest import Manifest

Verdict: TypeAlias = Literal["good", "bad", "inconclusive"]


@dataclass(frozen=True)
class Verification:
    """The outcome of one verification.

    Attributes:
        name: The backup.
        verdict: `good`: it was restored, and its contents are those that were written. `bad`: they are not.
            `inconclusive`: this machine could not tell; the backup may be good.
        why: The reason; empty for a good one.
        warnings: Faults of the realm itself that the backup shows: records that were unreadable already, doubled serials.
    """

    name: str
    verdict: Verdict
    why: str = ""
    warnings: tuple[str, ...] = ()


async def load_backup(
    backup: Path, manifest: Manifest, game: Game, *, identities: Sequence[Any], clock: Clock
) -> Census:
    """Restore the snapshot of a backup into a scratch store, and count it. A second one replays its append-only files.

    Raises:
        BackupError: As `scratch_store`.
        StorageError: As `scratch_store`.
        OSError: As `scratch_store`.
    """
    async with (
        workplace(backup.parent, clock) as work,
        scratch_store(backup, manifest, work, identities=identities, clock=clock) as storage,
    ):
        census = await count_store(storage, game.holdings, limits=game.limits, accept_unchecked=game.accept_unchecked)
    if manifest.log_to_s is not None:
        second = manifest.log_to_s
        async with (
            workplace(backup.parent, clock) as work,
            scratch_store(backup, manifest, work, identities=identities, clock=clock, second=second) as storage,
        ):
            store_id = (await storage.load(SERVER_STORE_ID) or b"").decode(errors="replace")
        if store_id not in {"", census.store_id}:  # the log may end before a new store got its id
            raise BackupDamaged(
                f"the append-only files of {manifest.name} are of another store", hint="use another backup"
            )
    return census


async def verify_backup(
    directory: Path, name: str, game: Game, *, identities: Sequence[Any] = (), clock: Clock
) -> Verification:
    """Verify one backup, and note a conclusive verdict beside it.

    The digests of its files come first, then the restore, then the census against the manifest. A missing key, a full disk
    or a scratch store that dies prove nothing about the backup: the verdict is `inconclusive`, and an earlier one stands.

    Args:
        directory: The directory of the backups.
        name: The backup.
        game: Its record classes.
        identities: Secret keys, for an encrypted backup.
        clock: The clock.

    Raises:
        BackupError: There is no such backup.
    """
    manifest: Manifest | None = None
    try:
        path, manifest = await asyncio.to_thread(find_backup, directory, name)
        await asyncio.to_thread(check_files, path, manifest)
        found = await load_backup(path, manifest, game, identities=identities, clock=clock)
        finding = judge(manifest, found)
    except BackupDamaged as error:
        finding = Verification(name, "bad", error.message)
    except (StorageError, OSError, TimeoutError) as error:
        finding = Verification(name, "inconclusive", str(error))
    except BackupError as error:
        if manifest is None:
            raise
        finding = Verification(name, "inconclusive", str(error))
    if manifest is not None and finding.verdict != "inconclusive":
        note = VerdictNote(verdict=finding.verdict, why=finding.why, at_us=clock.wall_us(), digest=manifest.digest)
        await asyncio.to_thread(write_note, directory / name, note)
    return finding


def judge(manifest: Manifest, found: Census) -> Verification:
    """Compare the census of a restored backup with its manifest."""
    written = manifest.census
    differences = "; ".join(written.differences(found))
    if found.digest != written.digest or found.keys != written.keys:
        return Verification(manifest.name, "bad", f"its contents are not those that were written: {differences}")
    if differences:
        return Verification(
            manifest.name,
            "inconclusive",
            f"its contents are byte for byte those that were written, but this version of the game reads them otherwise"
            f" (it was made by {manifest.realmkeep}): {differences}",
        )
    if found.unknown:
        kinds = ", ".join(found.unknown)
        return Verification(manifest.name, "inconclusive", f"backup.holdings names no class for these: {kinds}")
    return Verification(manifest.name, "good", warnings=warnings_of(found))


def warnings_of(census: Census) -> tuple[str, ...]:
    """The faults of the realm itself, one sentence each."""
    told = [f"{each.key} could not be read when the backup was made: {each.why}" for each in census.unreadable]
    return (*told, *(f"serial {serial} exists more than once" for serial in census.doubled))
