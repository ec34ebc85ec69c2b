"""`server.json` while a server runs: it says what is, and a disk that cannot take it is no end of the server."""

import asyncio
import errno
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from realmkeep.realm.server import server_file
from realmkeep.realm.server.server_file import LOOK_S, ServerFile, keep_server_file, read_server_file, write_server_file
from realmkeep.testing.clock import FakeClock

TOLD = ServerFile(pid=7, host="::1", tcp=1, udp=2, auth_public_key="00", store_url="embedded:///x", store_pid=8)


@dataclass
class Running:
    """A server that keeps its file."""

    directory: Path
    clock: FakeClock = field(default_factory=FakeClock)
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    told: ServerFile = TOLD

    async def reads(self, told: ServerFile) -> None:
        """Return when the file says this."""
        await self.until(lambda: json.loads(self.file.read_text()) == msgspec.structs.asdict(told), needs=self.file)

    @property
    def file(self) -> Path:
        return self.directory / "server.json"

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(keep_server_file(self.directory, lambda: self.told, self.clock, self.stopping))

    async def until(self, holds: Callable[[], bool], *, needs: Path | None = None) -> None:
        """Its files are written on a thread, which the fake clock does not wait for."""
        async with asyncio.timeout(10):
            while (needs is not None and not needs.exists()) or not holds():
                await self.clock.advance(LOOK_S)
                await asyncio.sleep(0.001)

    async def stop(self, keeping: asyncio.Task[None]) -> None:
        self.stopping.set()
        await keeping


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


async def test_it_says_the_new_process_of_the_store_and_comes_back_when_it_is_gone(tmp_path: Path) -> None:
    running = Running(tmp_path)
    keeping = running.start()
    await running.reads(TOLD)
    running.told = msgspec.structs.replace(TOLD, store_pid=9)
    await running.reads(running.told)
    (tmp_path / "server.json").unlink()
    await running.reads(running.told)
    await running.stop(keeping)


async def test_a_disk_that_cannot_take_it_later_is_said_once_and_it_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    attempts: list[int] = []

    def fails(*_: object) -> None:
        attempts.append(len(attempts))
        full()

    def error(event: str, **_: object) -> None:
        said.append(event)

    running = Running(tmp_path)
    keeping = running.start()
    await running.reads(TOLD)
    running.told = msgspec.structs.replace(TOLD, store_pid=9)
    with monkeypatch.context() as patched:
        patched.setattr(server_file, "write_server_file", fails)
        patched.setattr(server_file.log, "error", error)
        await running.until(lambda: len(attempts) > 2)
    await running.reads(running.told)
    assert said == ["server.json cannot be written; trying again"]
    await running.stop(keeping)


async def test_a_server_whose_file_cannot_be_written_at_all_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_file, "write_server_file", full)
    with pytest.raises(OSError, match="No space left"):
        await Running(tmp_path).start()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_server_file(tmp_path, TOLD)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            write_server_file(tmp_path, msgspec.structs.replace(TOLD, store_pid=9))
    assert [path.name for path in tmp_path.iterdir()] == ["server.json"]
    assert read_server_file(tmp_path) == TOLD
