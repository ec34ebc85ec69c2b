"""Which process holds a lease, so that another one can prove that it has ended.

A host name and a process number are not enough, because containers of one image share both. On Linux the boot, the
namespaces of the number and of the start time, and that time identify a process. On other systems, or if one of them cannot
be read, nothing is proved, and a lease is watched until it runs out.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from pathlib import Path
from typing import Final, NamedTuple

PROC: Final = Path("/proc")


class ServerProcess(NamedTuple):
    """The identity of a process, different from that of every other one.

    Attributes:
        boot: The boot of the machine; empty if it is unknown, and then only `token` counts.
        namespaces: The namespaces of process numbers and of time. A namespace's number may be given again after its end, but
            its end ends all its processes: so the same number means the same namespace, or only dead processes.
        started: When it started, in ticks since the boot.
        token: Made by the process itself.
    """

    boot: str
    namespaces: str
    started: str
    token: str

    def encode(self) -> str:
        """As it stands in a lease."""
        return "/".join(self)

    @classmethod
    def decode(cls, told: str) -> ServerProcess:
        """Read it; text of another form gives an empty identity, which proves nothing."""
        parts = told.split("/")
        return cls(*parts) if len(parts) == len(cls._fields) else cls("", "", "", "")

    async def has_certainly_ended(self, pid: int) -> bool:
        """Whether it is proved that this process, which had the number `pid`, is gone, or is this very one."""
        here = this_process()
        if self.token and self.token == here.token:
            return True
        if not self.boot or (self.boot, self.namespaces) != (here.boot, here.namespaces):
            return False
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        except PermissionError:  # another user has that number now, perhaps; the time of its start tells
            pass
        started = await asyncio.to_thread(started_at, pid)
        return bool(started) and started != self.started


def started_at(pid: int, proc: Path = PROC) -> str:
    """When a process started, in ticks since the boot; empty if that cannot be read. Blocks for a moment."""
    try:
        told = (proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        return told.rpartition(")")[2].split()[19]  # the name before it may hold anything; see proc_pid_stat(5)
    except (OSError, IndexError):
        return ""


def _read_own(proc: Path = PROC) -> ServerProcess:
    token = secrets.token_hex(4)
    try:
        if (proc / "self").readlink().name != str(os.getpid()):  # another namespace's: its numbers are not ours
            return ServerProcess("", "", "", token)
        boot = (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        spaces = [proc / "self/ns" / name for name in ("pid", "time")]  # the latter since Linux 5.6
        numbers = [str(space.stat().st_ino) for space in spaces if space.exists()]
        return ServerProcess(boot, "-".join(numbers), started_at(os.getpid(), proc), token)
    except (OSError, ValueError):
        return ServerProcess("", "", "", token)


class _ThisProcess:
    """This process; another one after a fork."""

    process = _read_own()


def this_process() -> ServerProcess:
    """The process that asks."""
    return _ThisProcess.process


def _after_fork() -> None:
    _ThisProcess.process = _read_own()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
