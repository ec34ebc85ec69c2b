"""`realmkeep store rescue`, as an operator runs it."""

import asyncio
import json
from pathlib import Path

import pytest

from keeping.game import enter, pay
from realmkeep.cli.app import app
from realmkeep.config import KeeperConfig
from realmkeep.errors import ConfigError, Corrupt, StorageUnavailable
from realmkeep.keeping import CloseReport, Keeper
from realmkeep.storage import open_storage
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.faulty import FaultyStorage


async def shut_down_without_a_store(url: str, rescue: Path) -> CloseReport:
    """Players 1 and 2 trade, and 3 cannot be saved, while the store is away."""
    clock = FakeClock()
    storage = open_storage(url)
    line = FaultyStorage(storage, clock=clock)
    keeper = await Keeper.open(line, config=KeeperConfig(name="town"), clock=clock, rescue_path=rescue)
    one, two, three = [await enter(keeper, number) for number in (1, 2, 3)]
    three.record.x = float("nan")
    line.down = True
    keeper._engine.commits.run(pay, [one, two], ())
    closing = asyncio.create_task(keeper.close(deadline_s=1))
    await clock.advance(2)
    report = await closing
    await storage.disconnect()
    return report


def run(*arguments: str) -> int | str | None:
    """Its exit code."""
    with pytest.raises(SystemExit) as ended:
        app(["store", "rescue", *arguments], result_action="return_value")
    return ended.value.code


def test_the_command_restores_and_says_what_it_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url, rescue = f"sqlite:///{tmp_path / 'realm.db'}", tmp_path / "rescue.jsonl"
    assert asyncio.run(shut_down_without_a_store(url, rescue)).rescued == ("rover:1", "rover:2", "rover:3")
    assert run(str(rescue), "--store", url, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["restored"], report["already_there"], report["left"]) == (["rover:1", "rover:2"], [], [])
    (unsavable,) = report["not_restorable"]
    assert (unsavable["record"], unsavable["line"]) == ("rover:3", 4)
    assert "nan" in unsavable["why"]

    assert run(str(rescue), "--store", url) == 1
    *rows, total = capsys.readouterr().out.splitlines()
    assert rows[:2] == ["already there   rover:1", "already there   rover:2"]
    assert rows[2].startswith("not restorable  rover:3  line 4: ")
    assert total == f"{rescue} on {url}: 0 restored, 2 already there, 0 left, 1 not restorable"

    lines = rescue.read_bytes().splitlines(keepends=True)
    rescue.write_bytes(b"".join(lines[:3]))
    assert run(str(rescue), "--store", url) == 0


def test_a_store_that_is_away_and_a_damaged_file_are_told(tmp_path: Path) -> None:
    rescue = tmp_path / "rescue.jsonl"
    rescue.write_text("")
    with pytest.raises(StorageUnavailable):
        app(
            ["store", "rescue", str(rescue), "--store", f"redis+unix://{tmp_path}/none.sock"],
            result_action="return_value",
        )
    rescue.write_text('{"format":1,"crc')
    with pytest.raises(Corrupt, match="line 1"):
        app(["store", "rescue", str(rescue), "--store", "memory://"], result_action="return_value")


def test_a_service_may_run_it_before_each_start(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a file there is nothing to do, unless the operator meant one."""
    rescue = tmp_path / "rescue.jsonl"
    assert run(str(rescue), "--store", "memory://", "--if-exists") == 0
    assert capsys.readouterr().out == f"{rescue} does not exist: there is nothing to restore\n"
    with pytest.raises(ConfigError, match=rf"{rescue} does not exist.*--if-exists"):
        app(["store", "rescue", str(rescue), "--store", "memory://"], result_action="return_value")


def test_lines_that_went_to_a_log_are_restored_from_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url, rescue, log = f"sqlite:///{tmp_path / 'realm.db'}", tmp_path / "rescue.jsonl", tmp_path / "server.log"
    asyncio.run(shut_down_without_a_store(url, rescue))
    lines = rescue.read_text().splitlines()[:3]
    entries = [
        f"2026-01-01T00:00:00Z [critical ] rescue line: {lines[0]} [realmkeep.keeping.lifecycle.shutdown]\x1b[0m",
        json.dumps({"event": f"rescue line: {lines[1]}", "level": "critical"}),
        "something else {}",
        f"rescue line: {lines[2]}",
    ]
    log.write_text("\n".join(entries) + "\n")
    assert run(str(log), "--store", url, "--log") == 0
    assert "2 restored, 0 already there, 0 left" in capsys.readouterr().out
    log.write_text(entries[0][:-60])
    with pytest.raises(Corrupt, match="line 1"):
        app(["store", "rescue", str(log), "--store", url, "--log"], result_action="return_value")
