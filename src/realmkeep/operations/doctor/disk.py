"""The disk under a store: its file system, its room, and whether an fsync there writes anything."""

import os
import re
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from realmkeep.clock import Clock
from realmkeep.operations.doctor.findings import Finding
from realmkeep.operations.doctor.machine import Machine

ROOM_FACTOR: Final = 2  # a rewrite and a snapshot each make a second copy before they remove the first
PROBE_BYTES: Final = 4096
PROBES: Final = 32
PROBES_S_MAX: Final = 2.0  # on a slow disk fewer are enough: it is no liar
FSYNC_S_MIN: Final = 20e-6  # the fastest disks with a protected cache need about this long
IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
OF_A_CONTAINER: Final = frozenset({"overlay", "aufs"})
REMOTE: Final = re.compile(r"nfs4?|cifs|smb[23]?|9p|virtiofs|ceph|glusterfs|fuse\..*|fuse")
NO_BARRIER: Final = frozenset({"nobarrier", "barrier=0"})
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")  # mountinfo writes a blank as \040


class Mount(NamedTuple):
    """A mounted file system.

    Attributes:
        point: The directory where it is mounted.
        kind: Its type, such as `ext4`.
        options: The options of the mount and of the file system.
    """

    point: Path
    kind: str
    options: frozenset[str]


def mount_of(machine: Machine, directory: Path) -> Mount | None:
    """Return the file system of a directory, given by its real path; None if the machine does not tell."""
    found: Mount | None = None
    for line in machine.text("proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, of_system = before.split(), after.split()
        if len(fields) < 6 or len(of_system) < 3:
            continue
        point = Path(_ESCAPE.sub(lambda code: chr(int(code[1], 8)), fields[4]))
        # A later line covers an earlier one at the same point.
        if directory.is_relative_to(point) and (found is None or len(point.parts) >= len(found.point.parts)):
            found = Mount(point, of_system[0], frozenset([*fields[5].split(","), *of_system[2].split(",")]))
    return found


def file_system_findings(machine: Machine, directory: Path) -> Iterator[Finding]:
    """Yield the faults of the file system that holds a directory, given by its real path."""
    mount = mount_of(machine, directory)
    if mount is None:
        return
    if mount.kind in IN_MEMORY:
        yield Finding(
            "files-in-memory",
            "danger",
            f"{directory} is on {mount.kind}: memory, not a disk",
            "a restart of the machine loses every player",
            f"move the store's files to a disk: not below {mount.point}",
            promise="nothing survives a restart of the machine",
        )
    elif mount.kind in OF_A_CONTAINER:
        yield Finding(
            "files-in-a-container",
            "danger",
            f"{directory} is in the container itself ({mount.kind})",
            "every player is gone when the container is replaced, as each new version does",
            f"mount a volume at {directory}",
            promise="nothing survives the container",
        )
    elif REMOTE.fullmatch(mount.kind):
        yield Finding(
            "files-on-a-remote-system",
            "warning",
            f"{directory} is on {mount.kind}",
            "an fsync there is worth what the other side makes of it, and locks may not hold",
            "move the store's files to a local disk, or to a block device of the network",
            promise="acknowledged operations survive a loss of power only if the file server keeps its own promise",
        )
    if mount.options & NO_BARRIER:
        yield Finding(
            "no-barrier",
            "danger",
            f"{mount.point} is mounted with {', '.join(sorted(mount.options & NO_BARRIER))}",
            "an fsync leaves the data in the cache of the disk, which a power loss empties",
            f"mount -o remount,barrier=1 {mount.point}   and in /etc/fstab",
            promise="acknowledged operations survive a crash of the store, but not a loss of power",
        )


def room_findings(directory: Path, files_bytes: int) -> Iterator[Finding]:
    """Yield too little room for the next rewrite or snapshot. Blocks.

    Args:
        directory: The store's directory.
        files_bytes: The size of the files that are written anew: append-only file and snapshot, or the database.
    """
    free = shutil.disk_usage(directory).free
    if free < (wanted := ROOM_FACTOR * files_bytes):
        yield Finding(
            "little-room",
            "warning",
            f"{directory} has {free // 1024**2:,} MB free, and its files have {files_bytes // 1024**2:,} MB",
            "a rewrite or a snapshot needs as much again; on a full disk the store refuses writes",
            f"make room there: at least {wanted // 1024**2 + 1:,} MB",
        )


def fsync_median_s(directory: Path, clock: Clock) -> float:
    """Return the median of the seconds that an fdatasync of 4 KiB takes; the file is never visible. Blocks.

    Raises:
        OSError: No file can be written there.
    """
    taken: list[float] = []
    with tempfile.TemporaryFile(dir=directory) as file:
        started_s = clock.monotonic_s()
        while len(taken) < PROBES and clock.monotonic_s() - started_s < PROBES_S_MAX:
            os.write(file.fileno(), bytes(PROBE_BYTES))
            before_s = clock.monotonic_s()
            _sync(file.fileno())
            taken.append(clock.monotonic_s() - before_s)
    return statistics.median(taken)


def fsync_findings(median_s: float, directory: Path) -> Iterator[Finding]:
    """Yield an fsync that is too fast to be one."""
    if median_s < FSYNC_S_MIN:
        yield Finding(
            "fsync-too-fast",
            "danger",
            f"an fsync in {directory} takes {median_s * 1e6:.1f} us",
            "no disk is that fast: it is kept in memory, and a power loss takes acknowledged trades",
            "use a disk, or a host, that writes on fsync; a cache with its own battery may be accepted",
            promise="acknowledged operations survive a crash of the store, and a loss of power only if the disk's cache does",
        )


def _sync(descriptor: int) -> None:
    getattr(os, "fdatasync", os.fsync)(descriptor)  # macOS has no fdatasync
