"""The machine: the files of /proc and /sys, the kernel's clock, and the settings that a store needs of them."""

import ctypes
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from realmkeep.operations.doctor.findings import Finding
from realmkeep.storage.limits import whole_number

TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronised
TIMEX_BYTES: Final = 512  # struct timex has 208 bytes; more room costs nothing
OPEN_FILES_MIN: Final = 4096  # a thousand players over TCP, with room for the store and for files
STORE_FILES: Final = 32  # descriptors that Valkey keeps for itself, beside its clients
CGROUP_LIMITS: Final = ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes")
MEMORY_SHARE_MAX: Final = 0.75  # a snapshot copies the pages that change meanwhile
PERSISTENT: Final = "and in /etc/sysctl.d/realmkeep.conf"


def kernel_clock_state() -> int | None:
    """Return the state of the kernel's clock, as adjtimex(2) does, without changing it; None if there is no such call."""
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    return None if adjtimex is None else int(adjtimex(ctypes.create_string_buffer(TIMEX_BYTES)))


@dataclass(frozen=True)
class Machine:
    """This machine, as a program reads it.

    Attributes:
        root: The root of /proc and /sys; a test has its own.
        clock_state: Returns the state of the kernel's clock.
    """

    root: Path = Path("/")
    clock_state: Callable[[], int | None] = kernel_clock_state

    @property
    def is_linux(self) -> bool:
        """Whether it has the files of a Linux."""
        return (self.root / "proc/sys").is_dir()

    def text(self, path: str) -> str:
        """Return the content of a file below the root, without blanks around it; empty if it cannot be read."""
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def number(self, path: str) -> int | None:
        """Return the whole number in a file; None if it holds none."""
        return whole_number(self.text(path).encode())

    def program_of(self, process_id: int | None) -> str:
        """Return the name of a process; empty if this machine has none with that id."""
        return "" if process_id is None else self.text(f"proc/{process_id}/comm")


def server_findings(machine: Machine) -> Iterator[Finding]:
    """Yield the faults that concern every server of a realm: its clock, and the files that it may open."""
    if machine.clock_state() == TIME_ERROR:
        yield Finding(
            "clock-unsynchronised",
            "warning",
            "the clock of this machine is not synchronised",
            "revisions, tickets, bans and backups carry its time, and two servers disagree about it",
            "timedatectl set-ntp true   (or install chrony)",
        )
    if (files := _open_files(machine, "self")) is not None and files < OPEN_FILES_MIN:
        yield Finding(
            "few-open-files",
            "warning",
            f"a program started here may open {files:,} files",
            "each player takes one; beyond the limit the server accepts no player",
            "ulimit -n 65536   (systemd: LimitNOFILE=65536)",
        )


def store_findings(machine: Machine, process_id: int | None, *, clients_max: int, backlog: int) -> Iterator[Finding]:
    """Yield the faults that concern a Valkey or Redis on this machine.

    Args:
        machine: The machine.
        process_id: The store's process; None if it is unknown.
        clients_max: The clients that the store is configured to accept.
        backlog: The connections that it lets wait; 0 if it has no TCP port.
    """
    if (overcommit := machine.text("proc/sys/vm/overcommit_memory")) not in {"", "1"}:
        yield Finding(
            "overcommit",
            "warning",
            f"vm.overcommit_memory is {overcommit}",
            "a snapshot or a rewrite forks the store, and fails when memory is short; then the store refuses writes",
            f"sysctl vm.overcommit_memory=1   {PERSISTENT}",
        )
    if "[always]" in machine.text("sys/kernel/mm/transparent_hugepage/enabled"):
        yield Finding(
            "huge-pages",
            "warning",
            "transparent huge pages are on",
            "after each fork a write copies 2 MB instead of 4 KB: late answers, and more memory",
            "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled   (and at each boot)",
        )
    waiting = machine.number("proc/sys/net/core/somaxconn")
    if waiting is not None and waiting < backlog:
        yield Finding(
            "somaxconn",
            "advice",
            f"net.core.somaxconn is {waiting}, and the store wants {backlog}",
            "when all servers connect at once, some connections are dropped",
            f"sysctl net.core.somaxconn={backlog}   {PERSISTENT}",
        )
    files = _open_files(machine, str(process_id))
    if files is not None and files < clients_max + STORE_FILES:
        yield Finding(
            "few-open-files-of-the-store",
            "warning",
            f"the store may open {files:,} files, and is configured for {clients_max:,} clients",
            "it refuses connections before it says so",
            f"LimitNOFILE={clients_max + STORE_FILES} in its unit, or ulimit -n, and start it again",
        )


def memory_findings(machine: Machine, maxmemory: int) -> Iterator[Finding]:
    """Yield a memory limit of the store that this machine, or the container of this process, cannot give.

    Args:
        machine: The machine.
        maxmemory: The limit of the store in bytes; 0 for none.
    """
    there = _memory_bytes(machine)
    if there is None or maxmemory <= there * MEMORY_SHARE_MAX:
        return
    fits_mb = int(there * MEMORY_SHARE_MAX) // 1024**2
    yield Finding(
        "memory-limit-beyond-the-machine",
        "warning",
        f"maxmemory is {maxmemory // 1024**2:,} MB, and there are {there // 1024**2:,} MB",
        "a snapshot needs memory beside the data; the system kills the store before it refuses a write",
        f"CONFIG SET maxmemory {fits_mb}mb, then CONFIG REWRITE; or more memory",
    )


def _memory_bytes(machine: Machine) -> int | None:
    total = re.search(r"^MemTotal:\s+(\d+) kB", machine.text("proc/meminfo"), re.MULTILINE)
    limits = [machine.number(path) for path in CGROUP_LIMITS]
    limits.append(int(total[1]) * 1024 if total else None)
    return min((limit for limit in limits if limit is not None), default=None)


def _open_files(machine: Machine, process: str) -> int | None:
    """The soft limit of a process; None if it is unknown or has none."""
    found = re.search(r"^Max open files\s+(\d+)", machine.text(f"proc/{process}/limits"), re.MULTILINE)
    return int(found[1]) if found else None
