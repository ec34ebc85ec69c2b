"""The end of the server's process: what was saved decides the exit code, and nothing that comes after it."""

import asyncio
import json
import signal
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
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "none", at], check=True, capture_output=True)
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
    (told,) = [json.loads(line) for line in server.log.splitlines() if "the cleanup failed" in line]
    assert (told["level"], "Read-only file system" in told["error"]) == ("error", True)
    assert store.ask("KEYS", "*:lease") == []


async def test_a_supervisor_that_starts_the_server_again_loses_nobody_what_the_store_did_not_take(
    tmp_path: Path, store: StoreServer
) -> None:
    """Exit code 1, a restart at once, and the player has everything; then exit code 0."""
    server = Server(tmp_path / "data", STORE__URL=f"{store.url}?timeout_s=0.5", KEEPER__SHUTDOWN_DEADLINE_S="1")
    await asyncio.to_thread(server.start)
    ada = await server.player("ada")
    await ada.done("move", x=ada.state["x"] + 1.5, y=ada.state["y"])
    await asyncio.to_thread(store.pause)
    server.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(server.ended) == 1
    rescue = server.directory / "rescue.jsonl"
    assert "player:1" in rescue.read_text()
    await asyncio.to_thread(store.resume)
    await asyncio.to_thread(server.start)
    said = [json.loads(line) for line in server.log.splitlines() if "before anybody is let in" in line]
    assert [line["level"] for line in said] == ["warning"]
    assert not rescue.exists()
    assert [*server.directory.glob("rescue-*.delivered.jsonl")]
    ada.drop()
    await ada.connect()
    answer = await ada.login("ada")
    assert (answer["type"], answer["state"]["x"]) == ("auth_ok", ada.state["x"])
    assert answer["state"]["x"] == 21.5
    server.drop_clients()
    assert await asyncio.to_thread(server.stop) == 0


async def test_what_cannot_be_delivered_is_said_until_somebody_has_settled_it(
    tmp_path: Path, store: StoreServer
) -> None:
    server = Server(tmp_path / "data", STORE__URL=store.url)
    server.directory.mkdir()
    rescue = server.directory / "rescue.jsonl"
    rescue.write_text("{}\n")
    rescue.chmod(0o600)
    await asyncio.to_thread(server.start)
    assert await asyncio.to_thread(server.stop) == 1
    (last,) = [json.loads(line) for line in server.log.splitlines() if "not everything was saved" in line]
    assert (last["level"], last["left_before"]) == ("critical", ["?"])
    rescue.rename(rescue.with_name("settled"))
    await asyncio.to_thread(server.start)
    assert await asyncio.to_thread(server.stop) == 0
