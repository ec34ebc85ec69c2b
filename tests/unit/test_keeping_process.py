"""What proves that a process has ended, and what does not."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from realmkeep.keeping.ownership.server_process import ServerProcess, _read_own, started_at, this_process


@pytest.fixture
def other() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that lives until the test is over."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


async def told_of(pid: int) -> ServerProcess:
    return this_process()._replace(started=await asyncio.to_thread(started_at, pid), token="another")


async def test_a_process_has_ended_when_its_number_is_nobody_s(other: "subprocess.Popen[bytes]") -> None:
    told = await told_of(other.pid)
    assert not await told.has_certainly_ended(other.pid)
    other.kill()
    other.wait()
    assert await told.has_certainly_ended(other.pid) is bool(told.boot)


async def test_a_number_that_another_process_has_by_now_is_no_life(other: "subprocess.Popen[bytes]") -> None:
    told = (await told_of(other.pid))._replace(started="1")
    assert await told.has_certainly_ended(other.pid) is bool(told.boot)


@pytest.mark.parametrize(
    "differs", [{"boot": "another"}, {"namespaces": "1-2"}, {"boot": "", "namespaces": "", "started": ""}]
)
async def test_what_runs_elsewhere_or_does_not_say_where_may_live(differs: dict[str, str]) -> None:
    told = this_process()._replace(token="another", **differs)
    for pid in (1, os.getpid(), 4194999):
        assert not await told.has_certainly_ended(pid)


async def test_this_process_is_known_everywhere() -> None:
    assert await ServerProcess("", "", "", this_process().token).has_certainly_ended(os.getpid())


@pytest.mark.parametrize("told", ["", "a/b", "a/b/c/d/e", "////", "///"])
async def test_malformed_words_prove_nothing(told: str) -> None:
    assert not await ServerProcess.decode(told).has_certainly_ended(4194999)


def test_it_is_read_as_it_was_written() -> None:
    assert ServerProcess.decode(this_process().encode()) == this_process()


def test_where_the_system_tells_nothing_only_the_token_is_left(tmp_path: Path) -> None:
    """Another system, a sandbox, or a /proc of another namespace, in which our number is somebody else's."""
    assert _read_own(tmp_path)[:3] == ("", "", "")
    (tmp_path / "self").symlink_to("1")
    assert _read_own(tmp_path)[:3] == ("", "", "")


def test_a_child_is_another_process() -> None:
    code = """if True:
        import os, sys
        from realmkeep.keeping.ownership.server_process import this_process
        parent, pid = this_process(), os.fork()
        if not pid:
            os._exit(0 if this_process().token != parent.token else 1)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
