"""A realm with a cold tier: killed, its store thrown away and rebuilt from PostgreSQL, and played on by the same players."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from server import Server, running

BOTS = 8

pytestmark = pytest.mark.backend("embedded")


def realmkeep(*arguments: object, code: int = 0) -> str:
    command = [sys.executable, "-m", "realmkeep.cli", *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90, env={**os.environ})
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout


def test_a_realm_is_rebuilt_from_its_archive_and_its_players_play_on(
    tmp_path: Path, start: Callable[..., Server], postgres_url: str
) -> None:
    settings = {
        "ARCHIVE__URL": postgres_url,
        "ARCHIVE__INTERVAL_S": "0.3",
        "ARCHIVE__SWEEP_INTERVAL_S": "1",
        "BACKUP__INTERVAL_S": "0",
        "OPERATIONS__LISTEN": "",
    }
    server = start(**settings)
    crowd = ["crowd", "--data", server.directory, "--bots", BOTS, "--name", "bot", "--json", "--duration"]
    assert json.loads(realmkeep(*crowd, 1))["problems"] == []
    server.kill()
    server.start()
    assert server.stop() == 0
    tiers = ["--store", f"embedded:///{server.directory}/store", "--archive", postgres_url]
    realmkeep("archive", "sweep", *tiers)
    found = json.loads(realmkeep("archive", "verify", "--json", *tiers))
    assert (found["faults_count"], found["behind"], found["only_cold"]) == (0, 0, 0)
    assert found["equal"] == found["records"] >= BOTS
    assert "has shipped its changes until" in realmkeep("archive", "status", *tiers)

    shutil.rmtree(server.directory / "store")
    rebuilt = json.loads(realmkeep("archive", "reconcile", "--yes", "--json", *tiers))
    assert (rebuilt["stubs"], rebuilt["denied"]) == (BOTS, [])
    assert rebuilt["put"] >= BOTS + found["records"] - BOTS  # accounts, and zones
    found = json.loads(realmkeep("archive", "verify", "--json", *tiers))
    assert (found["frozen"], found["faults_count"]) == (rebuilt["stubs"], 0)
    with running(server.directory, KEEPER__NAME="realm-1", **settings):
        assert json.loads(realmkeep(*crowd, 1))["problems"] == []
