"""The realm backs itself up while a crowd plays; another machine goes on from there."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from server import Server, running

pytestmark = pytest.mark.backend("embedded")


def realmkeep(*arguments: object) -> str:
    """The output of a command, which must end well."""
    command = [sys.executable, "-m", "realmkeep.cli", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90, env={**os.environ})
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def good_backups(directory: Path) -> list[dict[str, Any]]:
    listed = json.loads(realmkeep("backup", "list", "--directory", directory, "--json"))
    return [each["manifest"] for each in listed if each["state"] == "good"]


async def test_a_crowd_plays_on_from_a_backup_of_the_running_realm(
    tmp_path: Path, start: Callable[..., Server]
) -> None:
    server = await asyncio.to_thread(start, BACKUP__INTERVAL_S="1", OPERATIONS__LISTEN="")
    backups = server.directory / "backups"
    crowd = asyncio.to_thread(
        realmkeep, "crowd", "--data", server.directory, "--bots", 6, "--duration", 3, "--name", "bot", "--json"
    )
    playing = asyncio.ensure_future(crowd)
    report = json.loads(await playing)
    assert report["problems"] == []
    found = await asyncio.to_thread(good_backups, backups)
    assert found, server.log
    busiest = found[-1]["census"]
    assert busiest["records"]["player"] == 6
    assert busiest["totals"]["gold"] > 0
    assert busiest["doubled"] == []

    new = tmp_path / "new"
    store = f"embedded:///{new}/store"
    name = found[-1]["name"]
    said = await asyncio.to_thread(
        realmkeep, "backup", "restore", name, "--directory", backups, "--store", store, "--yes", "--json"
    )
    restored = json.loads(said)
    assert restored["census"] == busiest
    (new / "server-keys.json").write_bytes((server.directory / "server-keys.json").read_bytes())
    (new / "server-keys.json").chmod(0o600)
    with running(new, KEEPER__NAME="realm-1", OPERATIONS__LISTEN="") as second:
        again = asyncio.to_thread(
            realmkeep, "crowd", "--data", second.directory, "--bots", 6, "--duration", 1, "--name", "bot", "--json"
        )
        assert json.loads(await again)["problems"] == []
