"""The shim between a store and its disk: what it says that a power failure leaves of a file, for each way to change one."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from realmkeep.drill.disk.disk_shim import DiskShim

pytestmark = pytest.mark.needs("gcc")

SYNCED = b"synced" * 1000
FILES = 200


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiskShim]:
    with DiskShim(tmp_path_factory.mktemp("shim"), files="/kept/") as shim:
        yield shim


def run(shim: DiskShim, directory: Path, program: str) -> None:
    """Run some lines on `file`, which exists, and `other`, which does not, in a process of their own."""
    lines = f"import os\nfile = os.open('file', os.O_RDWR | os.O_CREAT)\n{program}"
    environment = {**os.environ, **shim.environment}
    subprocess.run([sys.executable, "-c", lines], cwd=directory / "kept", env=environment, check=True)


@pytest.fixture
def directory(tmp_path: Path, shim: DiskShim) -> Path:
    """A directory with a file that was synced."""
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_bytes(SYNCED)
    shim.settle()
    return tmp_path


@pytest.mark.parametrize(
    "change",
    [
        "os.pwrite(file, b'x' * 9000, 3)",
        "os.lseek(file, 5, 0); os.write(file, b'x')",
        "os.lseek(file, 5, 0); os.writev(file, [b'x', b'y' * 9000])",
        "os.pwritev(file, [b'x', b'y'], 40)",
        "os.write(os.open('file', os.O_WRONLY | os.O_APPEND), b'x' * 70)",
        "os.ftruncate(file, 7)",
        "os.ftruncate(file, 7); os.ftruncate(file, 9000)",
        "os.posix_fallocate(file, 0, 9000)",
        "os.pwrite(file, b'x', 9000); os.pwrite(file, b'y', 3); os.ftruncate(file, 2); os.pwrite(file, b'z' * 50, 0)",
        "os.rename('file', 'other'); os.pwrite(file, b'x', 3)",
    ],
)
def test_a_change_that_no_fsync_has_followed_is_gone(directory: Path, shim: DiskShim, change: str) -> None:
    run(shim, directory, change)
    assert shim.unsynced == 1
    assert shim.cut(directory) > 0
    (path,) = (directory / "kept").iterdir()
    assert path.read_bytes() == SYNCED
    assert shim.unsynced == 0


def test_an_fsync_of_any_process_keeps_what_came_before_it_and_nothing_else(directory: Path, shim: DiskShim) -> None:
    run(shim, directory, "os.pwrite(file, b'first', 0)")
    run(shim, directory, "os.fdatasync(file); os.pwrite(file, b'second', 0); os.pwrite(file, b'third', 7000)")
    shim.cut(directory)
    assert (directory / "kept" / "file").read_bytes() == b"first" + SYNCED[5:]


def test_a_file_that_failed_to_sync_or_was_lied_about_is_not_synced(directory: Path, shim: DiskShim) -> None:
    shim.lie(lying=True)
    run(shim, directory, "os.pwrite(file, b'x', 0); os.fsync(file)")
    shim.lie(lying=False)
    shim.fail(failing=True)
    run(shim, directory, "os.pwrite(file, b'x', 9)\ntry: os.fsync(file)\nexcept OSError: pass")
    shim.fail(failing=False)
    assert (shim.lied, shim.failed, shim.unsynced) == (1, 1, 1)  # no other test here has any
    shim.cut(directory)
    assert (directory / "kept" / "file").read_bytes() == SYNCED


@pytest.mark.parametrize("end", ["os.unlink('file')", "os.rename('other', 'file')"])
def test_what_was_written_to_a_file_that_is_gone_never_comes_back(directory: Path, shim: DiskShim, end: str) -> None:
    """Its inode may soon be another file's; where a file system takes it for none of these, there is nothing to go wrong."""
    inode = (directory / "kept" / "file").stat().st_ino
    run(shim, directory, "os.pwrite(file, b'x', 0); os.close(os.open('other', os.O_CREAT))\n" + end)
    assert shim.unsynced == 0
    path, made = directory / "kept" / "0", 0
    while made < FILES and (not made or path.stat().st_ino != inode):
        path, made = directory / "kept" / f"{made}", made + 1
        path.write_bytes(SYNCED)
    run(shim, directory, f"os.fsync(os.open('{path.name}', os.O_RDWR))")
    assert shim.cut(directory) == 0
    assert path.read_bytes() == SYNCED


def test_the_entries_that_an_fsync_made_needless_make_room_and_the_others_stay(directory: Path, shim: DiskShim) -> None:
    """As a Postgres, which syncs its log all the time and its tables now and then."""
    program = (
        "log = os.open('log', os.O_RDWR | os.O_CREAT); os.write(log, bytes(1_000_000)); os.fsync(log); os.pwrite(file, b'x', 3)\n"
        "for turn in range(60): os.pwrite(log, bytes([turn]) * 1_000_000, 0); os.fsync(log)\n"
    )
    run(shim, directory, program)
    assert shim.undo_bytes < 30_000_000
    shim.cut(directory)
    assert (directory / "kept" / "file").read_bytes() == SYNCED
    assert (directory / "kept" / "log").read_bytes() == bytes([59]) * 1_000_000
