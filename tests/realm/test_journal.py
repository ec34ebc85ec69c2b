"""The journal of a realm under a crowd and a kill: what it says of each player is what the store holds."""

import subprocess
import sys
from collections.abc import Callable

import msgspec
import pytest
from server import Server

BOTS, SECONDS = 8, 2  # for longer: docs/journal.md has the commands

pytestmark = pytest.mark.backend("embedded")


def realmkeep(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "realmkeep.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


async def test_snapshots_and_commits_replayed_give_what_the_store_holds(start: Callable[..., Server]) -> None:
    server = start(JOURNAL__INTERVAL_S="0.5", OPERATIONS__LISTEN="")
    crowd = ["crowd", "--data", str(server.directory), "--bots", str(BOTS), "--duration", str(SECONDS)]
    played = realmkeep(*crowd)
    assert played.returncode == 0, played.stdout + played.stderr
    server.kill()
    server.start()
    assert realmkeep(*crowd[:-1], "1").returncode == 0
    assert server.stop() == 0
    store, archive = f"embedded:///{server.directory}/store", f"file:///{server.directory}/journal"
    done = realmkeep("journal", "verify", "--replay", "--json", "--store", store, "--archive", archive)
    assert done.returncode == 0, done.stdout + done.stderr
    report = msgspec.json.decode(done.stdout)
    assert report["entries"] > BOTS
    assert report["replayed"]["records"] >= BOTS
    assert report["replayed"]["differences"] == []
