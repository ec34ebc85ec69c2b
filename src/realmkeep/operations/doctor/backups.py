"""The backups of a realm: whether one that was verified is recent enough."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from realmkeep.operations.backup.catalogue import backup_ages
from realmkeep.operations.doctor.findings import Finding

VERIFIED_S_MAX: Final = 26 * 3600  # a day, and time for the backup itself
US: Final = 1_000_000


def backup_findings(directory: Path, *, now_us: int) -> Iterator[Finding]:
    """Yield a missing or an old verified backup. Blocks.

    Args:
        directory: The directory of the backups.
        now_us: The time, in microseconds since 1970.

    Raises:
        OSError: A manifest cannot be read.
    """
    verified_us = backup_ages(directory).verified_us
    if verified_us is None:
        yield Finding(
            "no-verified-backup",
            "danger",
            f"there is no verified backup in {directory}",
            "a broken disk, a mistake in a console or a defect loses every player for good",
            "realmkeep backup create   (hourly: realmkeep deploy write)",
        )
    elif now_us - verified_us > VERIFIED_S_MAX * US:
        yield Finding(
            "backup-too-old",
            "warning",
            f"the last verified backup in {directory} is {(now_us - verified_us) // (3600 * US):,} hours old",
            "a restore would lose all that happened since then",
            "realmkeep backup create, then look at the timer: systemctl status realmkeep-backup",
        )
