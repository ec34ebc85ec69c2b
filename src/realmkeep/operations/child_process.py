"""A command of Realmkeep in a child process, so that a server's event loop does none of its work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from realmkeep.config import Config

STOP_S_MAX: Final = 2.0  # a server that stops saves its players after this
NICE: Final = 10  # the game comes first
PROGRAM: Final = (sys.executable, "-m", "realmkeep.cli")


class ChildOutput(NamedTuple):
    """The end of a child process.

    Attributes:
        code: Its exit code; negative: the signal that killed it.
        said: Its standard output.
        errors: Its standard error.
    """

    code: int
    said: bytes
    errors: bytes

    @property
    def reason(self) -> str:
        """The last line of its errors, or the signal; empty if it said nothing."""
        if self.code < 0:
            return f"the child process was killed by signal {-self.code}"
        last = (self.errors.decode(errors="replace").strip().splitlines() or [""])[-1]
        return last.removeprefix("realmkeep: ")


def child_environment(config: Config, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a child process: it reads the same sources of settings, and the store of this server.

    Args:
        config: The settings of this server. No secret of them becomes an argument: others could read it there.
        environment: The environment to begin with; by default that of this process.
    """
    inherited = {**(os.environ if environment is None else environment)}
    inherited.pop("REALMKEEP_STORE__URL_FILE", None)  # one source for one setting
    return {
        **inherited,
        "REALMKEEP_STORE__URL": config.store.url,
        "REALMKEEP_BACKUP__DIRECTORY": config.backup.directory,
        "REALMKEEP_BACKUP__HOLDINGS": config.backup.holdings,
        "REALMKEEP_JOURNAL__URL": config.journal.url,
    }


class ChildProcess:
    """One child process. Its methods block, each in a thread of its own: a cancelled wait does not stop its thread.

    Args:
        command: The command: `PROGRAM`, and its arguments.
        environment: See `child_environment`.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._is_over = False

    def run(self) -> ChildOutput:
        """Start it, unless `end` was called, and wait for its end.

        Raises:
            OSError: It cannot be started.
        """
        with self._lock:
            if self._is_over:
                return ChildOutput(0, b"", b"")
            process = self._process = subprocess.Popen(  # noqa: S603 - this very program
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self._environment,
                start_new_session=True,  # Ctrl-C is the server's
            )
        os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
        said, errors = process.communicate()
        return ChildOutput(process.returncode, said, errors)

    def end(self) -> None:
        """End it: it removes what it made, and stops its scratch store. One that takes long ends after the server."""
        with self._lock:
            self._is_over = True
            process = self._process
        if process is not None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=STOP_S_MAX)
