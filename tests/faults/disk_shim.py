"""A shim between a store and its disk (`disk_shim.c`): what a power failure would leave, slow fsyncs, failing fsyncs."""

import mmap
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Final, Self

from suite.engines import needed

SOURCE: Final = Path(__file__).with_name("disk_shim.c")
FILES_MAX: Final = 200
NUMBERS: Final = 6  # of `struct state` before its files


class DiskShim:
    """Everything that is started with its `environment` has its files watched.

    Args:
        directory: Where the library is built and its state lies.
        files: What the path of a file contains that counts.
    """

    def __init__(self, directory: Path, *, files: str = "appendonlydir") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        library, state = directory / "disk_shim.so", directory / "state"
        subprocess.run([needed("gcc"), "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
        state.write_bytes(bytes(8 * (NUMBERS + 2 * FILES_MAX)))
        with state.open("r+b") as file:
            self._state = mmap.mmap(file.fileno(), 0)
        self.environment = {"LD_PRELOAD": str(library), "DISK_SHIM_STATE": str(state), "DISK_SHIM_FILES": files}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._state.close()

    def slow(self, delay_s: float) -> None:
        """Each fsync takes this much longer, from now on."""
        self._put(0, round(delay_s * 1_000_000))

    def fail(self, *, failing: bool) -> None:
        """Each fsync fails with EIO, or does not any more; what it was to sync stays in the system's memory."""
        self._put(1, int(failing))

    @property
    def began(self) -> int:
        """How many fsyncs have begun."""
        return self._get(2)

    @property
    def ended(self) -> int:
        """How many have ended, well or not; a process that was killed ends none."""
        return self._get(3)

    @property
    def failed(self) -> int:
        """How many have failed."""
        return self._get(4)

    def durable_bytes(self, path: Path) -> int:
        """How much of a file a power failure would leave now."""
        inode = path.stat().st_ino
        for at in range(self._get(5)):
            if self._get(NUMBERS + 2 * at) == inode:
                return self._get(NUMBERS + 2 * at + 1)
        return 0

    def image(self, directory: Path, to: Path) -> None:
        """Copy a store's directory as a power failure would leave it now: every append-only file cut where it was synced."""
        lengths = {path: self.durable_bytes(path) for path in directory.rglob("*.incr.aof")}
        shutil.copytree(directory, to, ignore=shutil.ignore_patterns("*.lock", "*.sock", "log"))
        for path, length in lengths.items():
            os.truncate(to / path.relative_to(directory), length)

    def _get(self, at: int) -> int:
        return struct.unpack_from("q", self._state, 8 * at)[0]

    def _put(self, at: int, value: int) -> None:
        struct.pack_into("q", self._state, 8 * at, value)
