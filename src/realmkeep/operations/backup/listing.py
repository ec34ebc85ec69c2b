"""The lines that an operator reads."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING, Any

from realmkeep.config import mask_url
from realmkeep.errors import BackupError
from realmkeep.operations.backup.catalogue import find_backup, list_backups
from realmkeep.operations.backup.moments import show_duration, show_moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from realmkeep.operations.backup.catalogue import ListedBackup
    from realmkeep.operations.backup.manifest import Manifest
    from realmkeep.operations.backup.restoring import RestorePlan, RestoreReport

US = 1_000_000
MB = 1_000_000
COLUMNS = 80  # of a terminal


def list_lines(backups: Sequence[ListedBackup], *, now_us: int) -> list[str]:
    """One line for each backup, at most 80 columns wide, and a second one if it can be cut at a second."""
    if not backups:
        return ["there is no backup"]
    lines = [f"{'backup':<17} {'age':>12} {'records':>11} {'MB':>9}  {'sealed':<6}  verdict"]
    for each in backups:
        manifest = each.manifest
        if manifest is None:
            lines.append(f"{each.name:<17} {'':>12} {'':>11} {'':>9}  {'':<6}  {each.state}")
            continue
        age = show_duration(max(0, now_us - manifest.taken_us) / US)
        records = sum(manifest.census.records.values())
        sealed = "age" if manifest.recipients else "-"
        size = f"{manifest.bytes_count / MB:,.1f}"
        lines.append(f"{each.name:<17} {age:>12} {records:>11,} {size:>9}  {sealed:<6}  {each.state}")
        if (reach := reach_of(manifest)) is not None:
            lines.append(f"{'':<17} any second {reach}")
    return lines


def reach_of(manifest: Manifest) -> str | None:
    """The times to which a backup can be cut; None if it has no append-only files."""
    if manifest.log_from_s is None or manifest.log_to_s is None:
        return None
    return f"from {show_moment(manifest.log_from_s * US)} to {show_moment(manifest.log_to_s * US)}"


def as_rows(backups: Sequence[ListedBackup]) -> list[dict[str, Any]]:
    """The backups as plain values, for JSON."""
    return [
        {"name": each.name, "state": each.state, "manifest": each.manifest, "note": each.note, "damage": each.damage}
        for each in backups
    ]


def names_to_verify(directory: Path, names: Sequence[str], *, every: bool) -> list[str]:
    """The backups to verify: the named ones, all complete ones, or the newest. Blocks.

    Raises:
        BackupError: There is no such backup.
        OSError: The directory cannot be read.
    """
    if names:
        for name in names:
            if not (directory / name).is_dir():
                find_backup(directory, name)
        return [*names]
    found = [each.name for each in list_backups(directory) if each.state != "incomplete"]
    if not found:
        raise BackupError(f"there is no backup in {directory}", hint="realmkeep backup create")
    return found if every else found[-1:]


def plan_lines(plan: RestorePlan, url: str, *, now_us: int) -> list[str]:
    """What a restore would do."""
    census = plan.manifest.census
    records = ", ".join(f"{count:,} {kind}" for kind, count in census.records.items()) or "no records"
    lost = show_duration(max(0, now_us - plan.as_of_us) / US)
    return [
        f"backup   {plan.manifest.name} ({records})",
        f"into     {mask_url(url)}, which is empty",
        f"state    of {show_moment(plan.as_of_us)}",
        f"lost     all that happened in the {lost} since then",
    ]


def report_lines(report: RestoreReport) -> list[str]:
    """The outcome of a restore."""
    totals = ", ".join(f"{count:,} {name}" for name, count in report.census.totals.items())
    counted = f"{sum(report.census.records.values()):,} records, {report.census.keys:,} keys"
    lines = [
        *wrap(f"restored {counted}{f'; {totals}' if totals else ''}; {report.census.serials:,} serials", COLUMNS),
        f"The realm is as of {show_moment(report.as_of_us)}: {show_duration(report.lost_s)} are lost.",
    ]
    if report.erased:
        lines.append(f"{report.erased} records that were erased since were erased again.")
    return [
        *lines,
        "Start the servers now. One that still runs since before the restore gives its",
        "records up.",
    ]
