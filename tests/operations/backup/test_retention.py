"""Which backups stay."""

import asyncio
import itertools
from pathlib import Path

import msgspec
import pytest

from operations.traders import CLOCK, GAME, trading
from realmkeep.errors import BackupBusy, BackupDamaged
from realmkeep.operations.backup.catalogue import ListedBackup, State, list_backups
from realmkeep.operations.backup.census import NOTHING
from realmkeep.operations.backup.creating import create_backup
from realmkeep.operations.backup.manifest import Manifest, VerdictNote, name_of
from realmkeep.operations.backup.retention import DAY_US, plan_removals, prune_backups
from realmkeep.operations.backup.workplace import locked

NOW_US = 1_796_040_000 * 1_000_000
HOUR_US = DAY_US // 24


def listed(age_us: int, state: State, *, unreadable: int = 0) -> ListedBackup:
    taken_us = NOW_US - age_us
    manifest = Manifest(
        name=name_of(taken_us),
        realmkeep="1",
        engine="valkey",
        version="v",
        taken_us=taken_us,
        files=(),
        recipients=(),
        census=msgspec.structs.replace(NOTHING, unreadable_count=unreadable),
    )
    note = VerdictNote(verdict=state, why="", at_us=0, digest="") if state in {"good", "bad"} else None
    return ListedBackup(manifest.name, manifest, note)


def kept(*backups: ListedBackup) -> list[ListedBackup]:
    ordered = sorted(backups, key=lambda each: each.name)
    removed = {each.name for each in plan_removals(ordered, now_us=NOW_US, hourly_days=7, daily_days=30)}
    return [each for each in ordered if each.name not in removed]


def test_hourly_for_a_week_then_daily_for_a_month() -> None:
    everything = [listed(hours * HOUR_US, "good") for hours in range(24 * 40)]
    ages = [(NOW_US - each.manifest.taken_us) // HOUR_US for each in kept(*everything) if each.manifest]
    assert sorted(ages)[: 7 * 24 + 1] == [*range(7 * 24 + 1)]
    days = sorted(ages)[7 * 24 + 1 :]
    assert len(days) == 23
    assert {later - earlier for earlier, later in itertools.pairwise(days)} == {24}
    assert max(ages) <= 30 * 24


@pytest.mark.parametrize("newest", ["bad", "unverified", "incomplete"])
def test_nothing_goes_below_a_backup_that_is_not_verified(newest: State) -> None:
    old = [listed(days * DAY_US, "unverified") for days in (40, 50, 60)]
    assert kept(*old, listed(0, newest)) == [*sorted(old, key=lambda each: each.name), listed(0, newest)]
    assert kept(*old, listed(0, "good")) == [listed(0, "good")]


def test_what_is_newer_than_the_newest_verified_one_stays() -> None:
    backups = [listed(days * DAY_US, "unverified") for days in (31, 32)]
    good = listed(40 * DAY_US, "good")
    assert kept(*backups, good, listed(50 * DAY_US, "good")) == [good, *reversed(backups)]


def test_the_last_backup_with_every_record_readable_stays() -> None:
    whole = listed(90 * DAY_US, "good")
    damaged = listed(0, "good", unreadable=1)
    assert kept(whole, listed(80 * DAY_US, "good", unreadable=1), damaged) == [whole, damaged]
    assert kept(whole, listed(1 * HOUR_US, "good"), damaged) == [listed(1 * HOUR_US, "good"), damaged]


def test_a_day_keeps_a_verified_backup_before_a_newer_one() -> None:
    at_us = 10 * DAY_US
    verified, newer = listed(at_us + HOUR_US, "good"), listed(at_us, "unverified")
    assert kept(verified, newer, listed(0, "good")) == [verified, listed(0, "good")]


async def test_pruning_looks_at_the_newest_verified_one_once_more(tmp_path: Path, backups: Path) -> None:
    url = f"sqlite:///{tmp_path}/realm.db"
    async with trading(url):
        """A realm with traders."""
    first = (await create_backup(url, backups, GAME, clock=CLOCK)).manifest.name
    second = (await create_backup(url, backups, GAME, clock=CLOCK)).manifest.name
    later_us = CLOCK.wall_us() + 40 * DAY_US
    (backups / "20200101T000000Z").mkdir()  # left behind by a killed process

    async def prune(*, dry_run: bool = False) -> list[str]:
        found = await prune_backups(backups, now_us=later_us, hourly_days=7, daily_days=30, dry_run=dry_run)
        return [each.name for each in found]

    assert await prune(dry_run=True) == [first]
    path = backups / second / "snapshot.db"
    intact = path.read_bytes()
    path.write_bytes(intact[:-1])
    with pytest.raises(BackupDamaged, match="the newest verified backup was damaged since, so none was removed"):
        await prune()
    path.write_bytes(intact)
    async with locked(backups):
        with pytest.raises(BackupBusy):
            await prune()
        with pytest.raises(BackupBusy):
            await create_backup(url, backups, GAME, clock=CLOCK)
    assert await prune() == [first]
    assert await prune() == []
    assert [each.name for each in await asyncio.to_thread(list_backups, backups)] == ["20200101T000000Z", second]
    third = (await create_backup(url, backups, GAME, clock=CLOCK)).manifest.name  # takes the incomplete one away
    assert [each.name for each in await asyncio.to_thread(list_backups, backups)] == [second, third]


async def test_there_is_nothing_to_prune_where_nothing_is(backups: Path) -> None:
    assert await prune_backups(backups, now_us=NOW_US, hourly_days=7, daily_days=30) == ()
