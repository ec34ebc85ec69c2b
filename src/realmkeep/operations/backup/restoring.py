"""Restoring a backup into an empty store: loaded, compared with the manifest, fenced, and put into its place at the end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from realmkeep.errors import BackupDamaged, BackupError
from realmkeep.operations.backup.catalogue import list_backups, newest_good
from realmkeep.operations.backup.census import count_store
from realmkeep.operations.backup.erasures import Erasures
from realmkeep.operations.backup.examining import judge
from realmkeep.operations.backup.fence import apply_effects, fence_effects
from realmkeep.operations.backup.forgetting import forgetting_effects
from realmkeep.operations.backup.packing import check_files
from realmkeep.operations.backup.scratch import scratch_path, scratch_store
from realmkeep.operations.backup.targets import target_of
from realmkeep.operations.backup.workplace import workplace
from realmkeep.operations.journal.persons import forgetting_lists

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from realmkeep.clock import Clock
    from realmkeep.operations.backup.catalogue import ListedBackup
    from realmkeep.operations.backup.census import Census
    from realmkeep.operations.backup.game import Game
    from realmkeep.operations.backup.manifest import Manifest
    from realmkeep.operations.backup.targets import Target
    from realmkeep.storage import Storage

US: Final = 1_000_000


@dataclass(frozen=True)
class RestorePlan:
    """A restore that is possible: nothing was changed yet.

    Attributes:
        backup: The directory of the backup.
        manifest: Its manifest.
        second: The second, since 1970, at whose end the state is taken; None for the snapshot.
        target: The store, which is empty.
    """

    backup: Path
    manifest: Manifest
    second: int | None
    target: Target

    @property
    def as_of_us(self) -> int:
        """Every write that was acknowledged before this moment comes back, in microseconds since 1970."""
        return self.manifest.taken_us if self.second is None else (self.second + 1) * US


@dataclass(frozen=True)
class RestoreReport:
    """A finished restore.

    Attributes:
        name: The backup.
        as_of_us: The moment to which the realm went back.
        lost_s: The seconds from that moment to the restore: all that happened in them is lost.
        census: The contents, before the fence and the erasures.
        erased: The number of records that were erased again.
    """

    name: str
    as_of_us: int
    lost_s: float
    census: Census
    erased: int


def choose_backup(directory: Path, name: str | None, second: int | None) -> ListedBackup:
    """The backup to restore: of this name, or the newest verified one that reaches the second. Blocks.

    Raises:
        BackupError: There is none.
        OSError: The directory cannot be read.
    """
    backups = list_backups(directory)
    if name is not None:
        found = next((each for each in backups if each.name == name), None)
    else:
        found = newest_good([each for each in backups if second is None or _reaches(each.manifest, second)])
    if found is not None and found.manifest is not None and (second is None or _reaches(found.manifest, second)):
        return found
    if found is not None and found.manifest is None:
        raise BackupDamaged(
            f"the backup {found.name} cannot be restored: {found.damage or 'it has no manifest'}",
            hint="use another backup",
        )
    wanted = "of that name" if name is not None else "with a good verification"
    raise BackupError(
        f"there is no backup {wanted} in {directory}{'' if second is None else ' that reaches to that second'}",
        hint="realmkeep backup list shows them, with the times that each one reaches",
    )


def _reaches(manifest: Manifest | None, second: int) -> bool:
    if manifest is None or manifest.log_from_s is None or manifest.log_to_s is None:
        return False
    return manifest.log_from_s <= second <= manifest.log_to_s


async def plan_restore(
    directory: Path, url: str, *, name: str | None = None, second: int | None = None, clock: Clock
) -> RestorePlan:
    """Choose the backup, compare its files with their digests, and check that the store is empty and not in use.

    Args:
        directory: The directory of the backups.
        url: The store to restore into.
        name: The backup; by default the newest verified one.
        second: The second to restore, since 1970; by default the snapshot.
        clock: The clock.

    Raises:
        RestoreRefused: The store is not empty, or live servers use it.
        StorageLocked: A server has the store open.
        BackupError: There is no such backup.
        BackupDamaged: It is not as it was written.
        StorageError: The store cannot be reached.
        OSError: A file cannot be read.
    """
    chosen = await asyncio.to_thread(choose_backup, directory, name, second)
    assert chosen.manifest is not None  # choose_backup returns no other
    target = target_of(url, chosen.manifest, clock)
    await target.check()
    await asyncio.to_thread(check_files, directory / chosen.name, chosen.manifest)
    return RestorePlan(directory / chosen.name, chosen.manifest, second, target)


async def restore_backup(plan: RestorePlan, game: Game, *, identities: Sequence[Any], clock: Clock) -> RestoreReport:
    """Restore a backup: into its place at the very end, so that a crash leaves the store empty or complete.

    Args:
        plan: The plan.
        game: The record classes.
        identities: Secret keys, for an encrypted backup.
        clock: The clock.

    Raises:
        RestoreRefused: The store is not empty any more.
        BackupDamaged: Its contents are not those that were written; nothing was changed.
        BackupError: As `scratch_store`.
        StorageError: As `scratch_store`, or the store went away.
        OSError: A file cannot be written.
    """
    async with workplace(plan.target.beside or plan.backup.parent, clock) as work:
        async with scratch_store(
            plan.backup, plan.manifest, work, identities=identities, clock=clock, second=plan.second
        ) as storage:
            census = await count_store(
                storage, game.holdings, limits=game.limits, accept_unchecked=game.accept_unchecked
            )
            if plan.second is None and (finding := judge(plan.manifest, census)).verdict == "bad":
                raise BackupDamaged(f"the backup {plan.manifest.name}: {finding.why}", hint="use another backup")
            erased = await _fence_and_erase(plan, storage, game, clock)
            await plan.target.fill(scratch_path(work, plan.manifest))
        await plan.target.publish(scratch_path(work, plan.manifest))
    lost_s = max(0.0, (clock.wall_us() - plan.as_of_us) / US)
    return RestoreReport(plan.manifest.name, plan.as_of_us, lost_s, census, erased)


async def _fence_and_erase(plan: RestorePlan, storage: Storage, game: Game, clock: Clock) -> int:
    found = [key async for key in storage.keys("*")]
    erasures = await asyncio.to_thread(Erasures, plan.backup.parent, plan.as_of_us)
    erasing, erased = await erasures.effects(storage, found)
    forgetting = await forgetting_effects(storage, found, game, erasures)
    lists = await forgetting_lists(storage, erasures.has_player) if erasures.any else []
    fencing = await fence_effects(storage, found, now_us=clock.wall_us())
    await apply_effects(storage, [*fencing, *forgetting, *erasing, *lists])
    return erased
