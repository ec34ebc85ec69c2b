"""Real processes, really killed."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from realmkeep.errors import StorageLocked
from realmkeep.storage.sqlite import SqliteStorage

WRITER = """
import asyncio, sys
from realmkeep.storage import Append, Committed, Put, Transaction, open_storage

async def write(storage, lane):
    for n in range(10**9):
        name = f"{lane}.{n}"
        effects = (Put(f"left:{name}", bytes(2000)), Append(f"log:{lane}", name.encode()), Put(f"right:{name}", b""))
        if await storage.write([Transaction((), effects)]) == [Committed()]:
            print(name, flush=True)

async def main():
    storage = open_storage(sys.argv[1])
    await storage.connect()
    await asyncio.gather(*(write(storage, lane) for lane in range(8)))

asyncio.run(main())
"""
LIAR = WRITER.replace("if await storage.write([Transaction((), effects)]) == [Committed()]:", "if True:").replace(
    "print(name, flush=True)", "print(name, flush=True); await asyncio.sleep(0)"
)
HOLDER = """
import asyncio, sys
from realmkeep.storage import open_storage

async def main():
    storage = open_storage(sys.argv[1])
    await storage.connect()
    print("open", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def acknowledged_before_the_kill(script: str, path: Path, acknowledgements: int) -> list[str]:
    """What a child of ours was told is committed, up to the moment when it was killed."""
    with subprocess.Popen([sys.executable, "-c", script, f"sqlite:///{path}"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(acknowledgements)]
        child.kill()
        lines += child.stdout.readlines()
    assert child.returncode == -signal.SIGKILL
    return [line.decode().strip() for line in lines if line.endswith(b"\n")]


async def violations(path: Path, acknowledged: list[str]) -> list[str]:
    """Every acknowledged transaction that is not there, and every one that is there in part."""
    storage = SqliteStorage(path)
    await storage.connect()
    left = {key.removeprefix("left:") async for key in storage.keys("left:*")}
    right = {key.removeprefix("right:") async for key in storage.keys("right:*")}
    logged = {
        entry.decode() async for key in storage.keys("log:*") for entry in await storage.load_list(key)
    }  # fmt: skip
    await storage.disconnect()
    lost = [f"lost {name}" for name in acknowledged if name not in left]
    return lost + [f"torn {name}" for name in (left | right | logged) - (left & right & logged)]


@pytest.mark.backend("sqlite")
@pytest.mark.parametrize("acknowledgements", [1, 100, 700])
async def test_a_killed_server_loses_nothing_that_was_acknowledged(tmp_path: Path, acknowledgements: int) -> None:
    path = tmp_path / "realm.db"
    acknowledged: list[str] = []
    for _ in range(2):  # the second one finds what the first left behind
        acknowledged += acknowledged_before_the_kill(WRITER, path, acknowledgements)
        assert await violations(path, acknowledged) == []
    assert len(acknowledged) >= 2 * acknowledgements


@pytest.mark.backend("sqlite")
async def test_control_a_server_that_acknowledges_without_writing_is_caught(tmp_path: Path) -> None:
    path = tmp_path / "realm.db"
    acknowledged = acknowledged_before_the_kill(LIAR, path, 100)
    assert any(violation.startswith("lost") for violation in await violations(path, acknowledged))


@pytest.mark.backend("sqlite")
async def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path: Path) -> None:
    path = tmp_path / "realm.db"
    storage = SqliteStorage(path)
    with subprocess.Popen([sys.executable, "-c", HOLDER, f"sqlite:///{path}"], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"open\n"
        with pytest.raises(StorageLocked, match=str(path)):
            await storage.connect()
        child.kill()
    await storage.connect()
    refused = subprocess.run(
        [sys.executable, "-c", HOLDER, f"sqlite:///{path}"], capture_output=True, text=True, check=False
    )
    assert refused.returncode != 0
    assert f"StorageLocked: another server has {path} open" in refused.stderr
    await storage.disconnect()
