"""Which backups may go: hourly ones for a week, daily ones for a month, and none without a newer verified one."""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
from typing import TYPE_CHECKING, Final, NamedTuple

from realmkeep.errors import BackupDamaged
from realmkeep.operations.backup.catalogue import list_backups, newest_good
from realmkeep.operations.backup.manifest import MANIFEST
from realmkeep.operations.backup.packing import check_files
from realmkeep.operations.backup.workplace import locked

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from realmkeep.operations.backup.catalogue import ListedBackup
    from realmkeep.operations.backup.manifest import Manifest

DAY_US: Final = 24 * 3600 * 1_000_000


class Removal(NamedTuple):
    """A backup that may be removed, and the reason."""

    name: str
    why: str


def plan_removals(
    backups: Sequence[ListedBackup], *, now_us: int, hourly_days: int, daily_days: int
) -> tuple[Removal, ...]:
    """The backups that may be removed.

    A backup stays if it is younger than `hourly_days`; if it is the best of its day (UTC) and younger than `daily_days`; if
    no newer backup has a good verification; and if it is the newest one whose records are all readable: a record that was
    damaged in the store since is still whole there.

    Args:
        backups: All of them, the oldest first.
        now_us: The present, in microseconds since 1970.
        hourly_days: Days for which every backup is kept.
        daily_days: Days for which one backup of each day is kept.
    """
    complete = [(each, each.manifest) for each in backups if each.manifest is not None]
    best_of_day = {_day(manifest): each.name for each, manifest in sorted(complete, key=_worth)}
    good = newest_good(backups)
    whole = newest_good([each for each, manifest in complete if manifest.census.unreadable_count == 0])
    removals: list[Removal] = []
    for each, manifest in complete:
        age_us = now_us - manifest.taken_us
        is_below = good is not None and each.name < good.name
        if age_us <= hourly_days * DAY_US or not is_below or (whole is not None and each.name == whole.name):
            continue
        if age_us > daily_days * DAY_US:
            removals.append(Removal(each.name, f"older than {daily_days} days"))
        elif best_of_day[_day(manifest)] != each.name:
            removals.append(Removal(each.name, f"older than {hourly_days} days; its day keeps a better one"))
    return tuple(removals)


def _day(manifest: Manifest) -> str:
    return f"{dt.datetime.fromtimestamp(manifest.taken_us // 1_000_000, dt.UTC):%Y-%m-%d}"


def _worth(pair: tuple[ListedBackup, Manifest]) -> tuple[bool, str]:
    """The best comes last: a good one, then the newest."""
    return pair[0].state == "good", pair[0].name


def remove_backups(directory: Path, removals: Sequence[Removal]) -> None:
    """Remove backups, each by its manifest first, so that a crash leaves an incomplete one and no damaged one. Blocks.

    Raises:
        OSError: One cannot be removed.
    """
    for removal in removals:
        (directory / removal.name / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(directory / removal.name)


async def prune_backups(
    directory: Path, *, now_us: int, hourly_days: int, daily_days: int, dry_run: bool = False
) -> tuple[Removal, ...]:
    """Remove the backups that `plan_removals` names, after the files of the newest verified one were compared once more.

    Args:
        directory: The directory of the backups.
        now_us: As `plan_removals`.
        hourly_days: As `plan_removals`.
        daily_days: As `plan_removals`.
        dry_run: Remove none.

    Returns:
        The removed backups.

    Raises:
        BackupBusy: Another process makes or prunes backups there.
        BackupDamaged: The newest verified backup has been damaged since; none was removed.
        OSError: One cannot be read or removed.
    """
    if not await asyncio.to_thread(directory.exists):
        return ()
    async with locked(directory):
        backups = await asyncio.to_thread(list_backups, directory)
        removals = plan_removals(backups, now_us=now_us, hourly_days=hourly_days, daily_days=daily_days)
        good = newest_good(backups)
        if not removals or good is None or good.manifest is None:
            return ()
        try:
            await asyncio.to_thread(check_files, directory / good.name, good.manifest)
        except BackupDamaged as error:
            raise BackupDamaged(
                f"the newest verified backup was damaged since, so none was removed: {error.message}",
                hint="make a new backup, then prune again",
            ) from error
        if not dry_run:
            await asyncio.to_thread(remove_backups, directory, removals)
    return removals
