"""Findings about the backups, on a directory with real ones."""

import asyncio
from pathlib import Path

from operations.doctor.fake_machine import FakeMachine
from operations.traders import GAME
from realmkeep.clock import SystemClock
from realmkeep.operations.backup.creating import create_backup
from realmkeep.operations.doctor import Finding, examine
from realmkeep.operations.doctor.backups import VERIFIED_S_MAX, backup_findings
from realmkeep.storage import open_storage

US = 1_000_000


async def test_a_store_without_a_verified_backup_is_in_danger(tmp_path: Path) -> None:
    fake = FakeMachine(tmp_path / "root")
    report = await examine("memory://", machine=fake.machine, backups=tmp_path / "none")
    assert "no-verified-backup" not in [finding.name for finding in report.findings]  # nothing could be backed up
    report = await examine(f"sqlite:///{tmp_path}/none.db", machine=fake.machine, backups=tmp_path / "none")
    (finding,) = report.findings
    assert (finding.name, finding.grade) == ("no-verified-backup", "danger")
    assert str(tmp_path / "none") in finding.what


async def test_a_verified_backup_is_enough_for_26_hours(tmp_path: Path) -> None:
    storage = open_storage(f"sqlite:///{tmp_path}/realm.db")
    await storage.connect()
    created = await create_backup(f"sqlite:///{tmp_path}/realm.db", tmp_path / "backups", GAME, clock=SystemClock())
    await storage.disconnect()
    taken_us = created.manifest.taken_us

    def after(seconds: int) -> list[Finding]:
        return [*backup_findings(tmp_path / "backups", now_us=taken_us + seconds * US)]

    assert await asyncio.to_thread(after, VERIFIED_S_MAX) == []
    (finding,) = await asyncio.to_thread(after, VERIFIED_S_MAX + 1)
    assert (finding.name, finding.grade) == ("backup-too-old", "warning")
    assert "26 hours old" in finding.what


async def test_a_directory_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    fake = FakeMachine(tmp_path / "root")
    (tmp_path / "file").touch()
    report = await examine(f"sqlite:///{tmp_path}/none.db", machine=fake.machine, backups=tmp_path / "file")
    assert any("the backups in" in sentence for sentence in report.unexamined)
