"""Processes by their ids: signals, and their states as the system has them. Linux."""

import asyncio
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from realmkeep.clock import Clock
from realmkeep.config import KeeperConfig
from realmkeep.drill.bots.client import POLL_S
from realmkeep.drill.bots.told import Told
from realmkeep.drill.checks import Stuck
from realmkeep.drill.server.settings import BREAK, ServerSettings

START_S_MAX: Final = 60.0
LOG_LINES_SHOWN: Final = 25


def state_of(pid: int) -> str:
    """Return the state of a process: `R` or `S` if it runs, `T` if it is stopped, `Z` or nothing if it is dead."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def children_of(pid: int) -> list[int]:
    """Return the processes whose parent is this one."""
    found: list[int] = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat = (process / "stat").read_text(encoding="utf-8", errors="replace")
            if stat.rpartition(")")[2].split()[1] == str(pid):
                found.append(int(process.name))
    return found


class ServerProcess:
    """One game server, started again and again under the same name.

    Args:
        store_url: The store.
        config: The keeper's settings, with the server's name.
        directory: For its sockets, log and rescue file.
        broken: A promise that it does not keep; see `server.breaks`.
        game: `module:attribute` of a studio's game; empty for the drill's own.
        archive_url: The cold tier; empty for none.
    """

    def __init__(
        self,
        store_url: str,
        config: KeeperConfig,
        directory: Path,
        broken: str,
        game: str = "",
        archive_url: str = "",
    ) -> None:
        self.name = config.name
        rescue = str(directory / f"{config.name}.rescue")
        self._settings = ServerSettings(store_url, "", rescue, config, game, archive_url)
        self._directory = directory
        self._environment = {**os.environ, BREAK: broken}
        self._starts = 0
        self._alarms_told = 0
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """The log of all its incarnations."""
        return self._directory / f"{self.name}.log"

    @property
    def socket(self) -> Path:
        """The socket of its present incarnation."""
        return self._directory / f"{self.name}-{self._starts}"

    @property
    def pid(self) -> int:
        """The id of its process.

        Raises:
            Stuck: It does not run.
        """
        return self._running.pid

    def tell(self) -> list[str]:
        """Return its last words; while it runs, the stacks of its tasks are among them."""
        if self.process is not None and self.process.poll() is None:
            self.resume()
            self.process.send_signal(signal.SIGUSR1)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(1.0)
        told = self._log_lines()[-LOG_LINES_SHOWN:]
        return [f"{self.name}: {line}" for line in told]

    def alarms(self) -> list[str]:
        """Return the critical lines of its log since the last call."""
        lines = self._log_lines()
        new, self._alarms_told = lines[self._alarms_told :], len(lines)
        return [line for line in new if " CRITICAL " in line or "by a client that does not own it" in line]

    def died_at(self) -> str:
        """Return the named point at which its present incarnation killed itself; empty if it did not."""
        with suppress(FileNotFoundError):
            return Path(f"{self.socket}.died").read_text(encoding="ascii")
        return ""

    async def start(self, told: Told) -> None:
        """Start it; return when it listens. One that could not open its store is started again.

        Raises:
            Stuck: It did not start within a minute.
        """
        try:
            async with told.clock.timeout(START_S_MAX):
                while not await self._try_to_start(told.clock):
                    pass
        except TimeoutError:
            raise Stuck(f"{self.name} does not start: {' | '.join(self._log_lines()[-3:])}") from None

    async def _try_to_start(self, clock: Clock) -> bool:
        self._starts += 1
        settings = msgspec.structs.replace(self._settings, socket=str(self.socket))
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: ASYNC220, S603 - our own server; a fork is short
                [sys.executable, "-m", "realmkeep.drill.server", msgspec.json.encode(settings)],
                stdin=subprocess.PIPE, stdout=log, stderr=log, env=self._environment,
            )  # fmt: skip
        while self.process.poll() is None:
            try:
                _, writer = await asyncio.open_unix_connection(self.socket)
            except (FileNotFoundError, ConnectionRefusedError):
                await clock.sleep(POLL_S)
            else:
                writer.close()
                return True
        self.end()
        return False

    def kill(self) -> int:
        """Send SIGKILL, wait until it is gone, and return its exit code: -9 if the signal ended it."""
        self._running.kill()
        return self.end()

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._running.send_signal(signal.SIGTERM)

    def end(self) -> int:
        """Wait until it is gone; return its exit code."""
        running = self._running
        code = running.wait(timeout=START_S_MAX)
        if running.stdin is not None:
            running.stdin.close()
        self.process = None
        return code

    def pause(self) -> None:
        """Send SIGSTOP, and wait until it stands still."""
        self._running.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._running.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Send SIGCONT."""
        self._running.send_signal(signal.SIGCONT)

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        if self.process is None:
            raise Stuck(f"{self.name} does not run")
        return self.process

    def _log_lines(self) -> list[str]:
        with suppress(FileNotFoundError):
            return self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return []
