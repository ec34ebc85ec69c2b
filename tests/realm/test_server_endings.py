"""The end of the server's process: what was saved decides the exit code, and nothing that comes after it."""

import json
import subprocess
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path

import pytest
from server import Server

from realmkeep.testing.servers import StoreServer


@pytest.fixture
def disk(tmp_path: Path) -> Generator[Path]:
    """A file system of its own."""
    with ExitStack() as mounted:
        (at := tmp_path / "disk").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "none", at], check=True, capture_output=True)
        mounted.callback(subprocess.run, ["umount", at], check=True, capture_output=True)
        yield at


@pytest.fixture
def store(tmp_path: Path) -> Generator[StoreServer]:
    (directory := tmp_path / "store").mkdir()
    with StoreServer(directory) as server:
        yield server


@pytest.mark.needs("mount")
def test_a_disk_that_turns_read_only_before_the_end_does_not_decide_the_exit_code(
    tmp_path: Path, disk: Path, store: StoreServer
) -> None:
    server = Server(disk, STORE__URL=store.url)
    server.log_path = tmp_path / "log"
    server.start()
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True, capture_output=True)
    assert server.stop() == 0, server.log
    (told,) = [json.loads(line) for line in server.log.splitlines() if "cleaned up" in line]
    assert (told["level"], "Read-only file system" in told["error"]) == ("error", True)
    assert store.ask("KEYS", "*:lease") == []
