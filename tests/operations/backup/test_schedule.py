"""Backups by schedule, in a child process."""

import asyncio
import logging
import os
import signal
from pathlib import Path

import pytest

from operations.traders import trading
from realmkeep.config import Config, load_config
from realmkeep.operations.backup import schedule as module
from realmkeep.operations.backup.catalogue import list_backups
from realmkeep.operations.backup.schedule import DELAY_S, BackupSchedule, is_scheduled
from realmkeep.testing.clock import FakeClock

HERE = {"PYTHONPATH": str(Path(__file__).parents[2]), "PATH": os.environ["PATH"]}


async def settings(directory: Path, **more: str) -> Config:
    return await asyncio.to_thread(
        load_config,
        environ={
            "REALMKEEP_STORE__URL": f"sqlite:///{directory}/realm.db",
            "REALMKEEP_BACKUP__DIRECTORY": str(directory / "backups"),
            "REALMKEEP_BACKUP__HOLDINGS": "operations.traders:GAME_HOLDINGS",
            **more,
        },
    )


def scheduled(config: Config, clock: FakeClock) -> BackupSchedule:
    environment = {**HERE, "REALMKEEP_BACKUP__HOLDINGS": config.backup.holdings}
    return BackupSchedule(config, clock, environment=environment)


async def names(directory: Path) -> list[str]:
    return [each.name for each in await asyncio.to_thread(list_backups, directory) if each.state == "good"]


@pytest.mark.parametrize(
    ("url", "interval", "made"),
    [
        ("sqlite:///realm.db", None, True),
        ("embedded:///store", None, True),
        ("memory://", "60", False),
        ("redis://localhost", None, False),
        ("postgresql:///realm", None, False),
        ("redis+unix:///run/s", "60", True),
        ("sqlite:///realm.db", "0", False),
    ],
)
def test_a_server_backs_its_own_store_up(url: str, interval: str | None, made: bool) -> None:
    environ = {"REALMKEEP_STORE__URL": url} | ({} if interval is None else {"REALMKEEP_BACKUP__INTERVAL_S": interval})
    assert is_scheduled(load_config(environ=environ)) is made


async def test_a_backup_is_made_when_the_newest_is_an_hour_old(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "realmkeep.operations.backup")
    async with trading(f"sqlite:///{tmp_path}/realm.db"):
        """A realm with traders."""
    clock = FakeClock()
    schedule = scheduled(await settings(tmp_path), clock)
    assert await schedule._wait_s() == DELAY_S  # there is none yet
    running = asyncio.ensure_future(schedule.run())
    while not caplog.records:
        await clock.advance(DELAY_S)
        await asyncio.sleep(0)
    (name,) = await names(tmp_path / "backups")
    assert caplog.records[0].getMessage().startswith(f"the backup {name} was made and read in ")
    assert schedule.trouble == ""
    (manifest,) = [each.manifest for each in await asyncio.to_thread(list_backups, tmp_path / "backups")]
    assert manifest is not None
    clock_at = BackupSchedule(await settings(tmp_path), FakeClock(wall_us=manifest.taken_us + 1_000_000_000))
    assert await clock_at._wait_s() == 3600 - 1000
    running.cancel()
    await asyncio.wait([running])


async def test_a_failure_is_named_until_a_backup_succeeds(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    schedule = scheduled(await settings(tmp_path), FakeClock())
    await schedule._make_backup()
    assert schedule.trouble == (
        f"the last backup failed or is inconclusive: there is no store {tmp_path}/realm.db (name the file of a store)"
    )
    assert caplog.records[-1].levelname == "ERROR"
    async with trading(f"sqlite:///{tmp_path}/realm.db"):
        """A realm with traders."""
    unknown = scheduled(
        await settings(tmp_path, REALMKEEP_BACKUP__HOLDINGS="operations.traders:NO_HOLDINGS"), FakeClock()
    )
    await unknown._make_backup()
    assert unknown.trouble.endswith("inconclusive: backup.holdings names no class for these: trader")
    await schedule._make_backup()
    assert schedule.trouble == ""


async def test_a_killed_child_is_inconclusive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHILD", ("sh", "-c", "kill -9 $$"))
    schedule = scheduled(await settings(tmp_path), FakeClock())
    await schedule._make_backup()
    assert schedule.trouble == (
        f"the last backup failed or is inconclusive: the child process was killed by signal {signal.SIGKILL:d}"
    )


async def test_the_child_ends_with_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHILD", ("sh", "-c", f"echo $$ > {tmp_path}/pid; exec sleep 600"))
    schedule = scheduled(await settings(tmp_path), FakeClock())
    making = asyncio.ensure_future(schedule._make_backup())
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text(encoding="utf-8").strip():
        await asyncio.sleep(0.01)
    making.cancel()
    await asyncio.wait([making])
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text(encoding="utf-8")), 0)
