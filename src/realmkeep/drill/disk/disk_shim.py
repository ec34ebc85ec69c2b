"""A shim between a store and its disk (`disk_shim.c`): what a power failure would leave; slow, failing and lying fsyncs."""

import mmap
import os
import pwd
import shutil
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, Self

from realmkeep.errors import ConfigError

SOURCE: Final = Path(__file__).with_name("disk_shim.c")
FILES_MAX: Final = 4000
UNDO_BYTES: Final = 1 << 30  # of a sparse file
_DELAY, _FAILING, _LYING, _FULL, _SKEW, _BEGAN, _ENDED, _FAILED, _LIED, _REFUSED, _FILES, _UNDO_END, _COMPACTED = range(
    13
)
NUMBERS: Final = 14  # before the files
FILE_NUMBERS: Final = 4  # of a file
STATE_BYTES: Final = 8 * (NUMBERS + FILE_NUMBERS * FILES_MAX) + 128  # behind the files: a lock
ENTRY: Final = struct.Struct("5q")


class _File(NamedTuple):
    inode: int
    durable: int
    written: int
    synced: int


class _Undo(NamedTuple):
    inode: int
    number: int
    at: int
    size: int
    kept: bytes


def find_compiler() -> str | None:
    """Return the C compiler of this machine; None if there is none, and so no shim."""
    return shutil.which("gcc")


class DiskShim:
    """Every process that is started with its `environment` has its files watched. Making one blocks.

    Args:
        directory: Where the library is built and its state lies.
        files: What the path of a file contains that counts.
        clock: What the name of a program contains whose wall clock can be set off.
        owner: The user that gets the directory, if this process is root's and the store is not.

    Raises:
        ConfigError: There is no compiler.
        subprocess.CalledProcessError: The compiler fails.
    """

    def __init__(self, directory: Path, *, files: str = "appendonlydir", clock: str = "", owner: str = "") -> None:
        compiler = find_compiler()
        if compiler is None:
            raise ConfigError("the shim between store and disk needs gcc", hint="Debian: apt install gcc libc6-dev")
        directory.mkdir(parents=True, exist_ok=True)
        library, state, undo = directory / "disk_shim.so", directory / "state", directory / "state.undo"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)  # noqa: S603 - our own source
        self._state = _shared(state, STATE_BYTES)
        self._undo = _shared(undo, UNDO_BYTES)
        if owner and os.geteuid() == 0:
            user = pwd.getpwnam(owner)
            for path in (directory, library, state, undo):
                os.chown(path, user.pw_uid, user.pw_gid)
        self.environment = {
            "LD_PRELOAD": str(library),
            "DISK_SHIM_STATE": str(state),
            "DISK_SHIM_FILES": files,
            "DISK_SHIM_CLOCK": clock,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._state.close()
        self._undo.close()

    def slow(self, delay_s: float) -> None:
        """Let each fsync take this much longer, from now on."""
        self._put(_DELAY, round(delay_s * 1_000_000))

    def fail(self, *, failing: bool) -> None:
        """Let each fsync fail with EIO, or no longer; its bytes stay in the system's memory."""
        self._put(_FAILING, int(failing))

    def lie(self, *, lying: bool) -> None:
        """Let each fsync succeed and do nothing, or no longer."""
        self._put(_LYING, int(lying))

    def fill(self, *, full: bool) -> None:
        """Let each write fail with ENOSPC, or no longer."""
        self._put(_FULL, int(full))

    def skew(self, offset_s: float) -> None:
        """Set the store's wall clock off."""
        self._put(_SKEW, round(offset_s * 1_000_000))

    @property
    def began(self) -> int:
        """The number of fsyncs that have begun."""
        return self._get(_BEGAN)

    @property
    def ended(self) -> int:
        """The number of fsyncs that have ended, well or not; a process that was killed ends none."""
        return self._get(_ENDED)

    @property
    def failed(self) -> int:
        """The number of fsyncs that have failed."""
        return self._get(_FAILED)

    @property
    def lied(self) -> int:
        """The number of fsyncs that did nothing."""
        return self._get(_LIED)

    @property
    def refused(self) -> int:
        """The number of writes that found the disk full."""
        return self._get(_REFUSED)

    @property
    def unsynced(self) -> int:
        """The number of files of which a power failure would take something now."""
        return sum(file.written > file.synced for file in self._files())

    @property
    def undo_bytes(self) -> int:
        """The size of what is kept so that it can be taken back."""
        return self._get(_UNDO_END)

    def durable_bytes(self, path: Path) -> int:
        """Return how much of a file that only grows a power failure would leave now."""
        inode = path.stat().st_ino
        return next((file.durable for file in self._files() if file.inode == inode), 0)

    def settle(self) -> None:
        """Count everything that lies in files now as synced; no process may write to them meanwhile."""
        for number in (_FILES, _UNDO_END, _COMPACTED):
            self._put(number, 0)

    def cut(self, directory: Path) -> int:
        """Make the files of a dead store what a power failure leaves of them: each as it was when it was synced last.

        Returns:
            The number of bytes that are gone or are as before.
        """
        paths = {path.stat().st_ino: path for path in directory.rglob("*") if path.is_file()}
        synced = {file.inode: file.synced for file in self._files()}
        cut = 0
        for entry in reversed([*self._entries()]):
            if entry.inode in paths and entry.number > synced.get(entry.inode, entry.number):
                cut += _undo(paths[entry.inode], entry)
        self.settle()
        return cut

    def _files(self) -> Iterator[_File]:
        for at in range(self._get(_FILES)):
            file = _File(*struct.unpack_from("4q", self._state, 8 * (NUMBERS + FILE_NUMBERS * at)))
            if file.inode:
                yield file

    def _entries(self) -> Iterator[_Undo]:
        at, end = 0, self._get(_UNDO_END)
        while at < end:
            inode, number, place, size, length = ENTRY.unpack_from(self._undo, at)
            at += ENTRY.size
            yield _Undo(inode, number, place, size, self._undo[at : at + length])
            at += -(-length // 8) * 8

    def _get(self, at: int) -> int:
        return struct.unpack_from("q", self._state, 8 * at)[0]

    def _put(self, at: int, value: int) -> None:
        struct.pack_into("q", self._state, 8 * at, value)


def _shared(path: Path, size_bytes: int) -> mmap.mmap:
    with path.open("w+b") as file:
        file.truncate(size_bytes)
        return mmap.mmap(file.fileno(), size_bytes)


def _undo(path: Path, entry: _Undo) -> int:
    """Take one write or truncation back; return the number of bytes that this changes."""
    with path.open("r+b", buffering=0) as file:
        longer = max(0, path.stat().st_size - entry.size)
        os.pwrite(file.fileno(), entry.kept, entry.at)
        file.truncate(entry.size)
    return len(entry.kept) + longer
