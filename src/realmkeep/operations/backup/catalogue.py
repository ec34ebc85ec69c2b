"""The backups of a directory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from realmkeep.errors import BackupDamaged, BackupError
from realmkeep.operations.backup.manifest import NAME, Manifest, VerdictNote, read_manifest, read_note

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

State: TypeAlias = Literal["good", "bad", "unverified", "incomplete"]
US: Final = 1_000_000


@dataclass(frozen=True)
class ListedBackup:
    """One backup of a directory.

    Attributes:
        name: Its name.
        manifest: Its manifest; None if it is incomplete or the manifest is damaged.
        note: Its last conclusive verification.
        damage: The damage of the manifest; empty if there is none.
    """

    name: str
    manifest: Manifest | None
    note: VerdictNote | None
    damage: str = ""

    @property
    def state(self) -> State:
        """`incomplete` without a manifest; `bad` or `good` after a verification."""
        if self.damage or (self.note is not None and self.note.verdict == "bad"):
            return "bad"
        if self.manifest is None:
            return "incomplete"
        return "unverified" if self.note is None else "good"


def list_backups(directory: Path) -> list[ListedBackup]:
    """Every backup of a directory, the oldest first; none if the directory does not exist. Blocks.

    Raises:
        OSError: A manifest cannot be read.
    """
    if not directory.exists():
        return []
    return [_listed(path) for path in sorted(directory.iterdir()) if NAME.fullmatch(path.name) and path.is_dir()]


def _listed(path: Path) -> ListedBackup:
    try:
        manifest = read_manifest(path)
    except BackupDamaged as error:
        return ListedBackup(path.name, None, None, error.message)
    return ListedBackup(path.name, manifest, None if manifest is None else read_note(path, manifest))


def find_backup(directory: Path, name: str) -> tuple[Path, Manifest]:
    """The directory and manifest of one backup. Blocks.

    Raises:
        BackupError: There is none of this name.
        BackupDamaged: Its manifest is missing or damaged.
        OSError: It cannot be read.
    """
    path = directory / name
    if not NAME.fullmatch(name) or not path.is_dir():
        raise BackupError(f"there is no backup {name!r:.80} in {directory}", hint="realmkeep backup list")
    manifest = read_manifest(path)
    if manifest is None:
        raise BackupDamaged(f"the backup {name} has no manifest: it was never completed", hint="use another backup")
    return path, manifest


def newest_good(backups: Sequence[ListedBackup]) -> ListedBackup | None:
    """The newest backup whose last verification was good; None if there is none."""
    return next((each for each in reversed(backups) if each.state == "good"), None)


@dataclass(frozen=True)
class BackupAges:
    """The newest backup and the newest verified one, for monitoring.

    Attributes:
        success_us: The moment of the newest complete backup, in microseconds since 1970; None without one.
        verified_us: The moment of the newest backup with a good verification, likewise.
    """

    success_us: int | None
    verified_us: int | None


def backup_ages(directory: Path) -> BackupAges:
    """How old the backups of a directory are. Blocks.

    Raises:
        OSError: A manifest cannot be read.
    """
    backups = list_backups(directory)
    complete = [each.manifest.taken_us for each in backups if each.manifest is not None]
    good = newest_good(backups)
    return BackupAges(
        success_us=max(complete, default=None),
        verified_us=good.manifest.taken_us if good is not None and good.manifest is not None else None,
    )
