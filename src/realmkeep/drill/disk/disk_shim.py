"""A shim between a store and its disk (`disk_shim.c`): what a power failure would leave; slow, failing and lying fsyncs."""

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final, Self

from realmkeep.errors import ConfigError

SOURCE: Final = Path(__file__).with_name("disk_shim.c")
FILES_MAX: Final = 2000
_DELAY, _FAILING, _LYING, _FULL, _SKEW, _BEGAN, _ENDED, _FAILED, _LIED, _REFUSED, _FILES = range(11)
NUMBERS: Final = 11  # before the files


def find_compiler() -> str | None:
    """Return the C compiler of this machine; None if there is none, and so no shim."""
    return shutil.which("gcc")


class DiskShim:
    """Every process that is started with its `environment` has its files watched. Making one blocks.

    Args:
        directory: Where the library is built and its state lies.
        files: What the path of a file contains that counts.
        clock: What the name of a program contains whose wall clock can be set off.

    Raises:
        ConfigError: There is no compiler.
        subprocess.CalledProcessError: The compiler fails.
    """

    def __init__(self, directory: Path, *, files: str = "appendonlydir", clock: str = "") -> None:
        compiler = find_compiler()
        if compiler is None:
            raise ConfigError("the shim between store and disk needs gcc", hint="Debian: apt install gcc libc6-dev")
        directory.mkdir(parents=True, exist_ok=True)
        library, state = directory / "disk_shim.so", directory / "state"
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)  # noqa: S603 - our own source
        state.write_bytes(bytes(8 * (NUMBERS + 2 * FILES_MAX)))
        with state.open("r+b") as file:
            self._state = mmap.mmap(file.fileno(), 0)
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

    def durable_bytes(self, path: Path) -> int:
        """Return how much of a file a power failure would leave now."""
        inode = path.stat().st_ino
        for at in range(self._get(_FILES)):
            if self._get(NUMBERS + 2 * at) == inode:
                return self._get(NUMBERS + 2 * at + 1)
        return 0

    def cut(self, directory: Path) -> int:
        """Cut the append-only files of a dead store where they were synced; return the number of bytes that were cut."""
        cut = 0
        for path in directory.rglob("*.incr.aof"):
            size, durable = path.stat().st_size, self.durable_bytes(path)
            if durable < size:
                os.truncate(path, durable)
                cut += size - durable
        return cut

    def _get(self, at: int) -> int:
        return struct.unpack_from("q", self._state, 8 * at)[0]

    def _put(self, at: int, value: int) -> None:
        struct.pack_into("q", self._state, 8 * at, value)
