"""Backups by schedule, inside a server: each is a child process, so that the server's event loop does none of the work."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep.operations.backup.catalogue import backup_ages
from realmkeep.operations.child_process import PROGRAM, ChildOutput, ChildProcess, child_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realmkeep.clock import Clock
    from realmkeep.config import Config

log = logging.getLogger("realmkeep.operations.backup")

DELAY_S: Final = 300.0  # after a start, when players come back; and after a failure
CHILD: Final = (*PROGRAM, "backup", "create", "--prune", "--json")
TRY_LATER: Final = 75
US: Final = 1_000_000


def is_scheduled(config: Config) -> bool:
    """Whether a server with these settings makes backups by itself.

    A store in memory leaves nothing to back up. A store that several servers share is backed up by a timer on its machine,
    unless `backup.interval_s` was set.
    """
    backend = config.store.url.partition(":")[0]
    if not config.backup.interval_s or backend == "memory":
        return False
    return backend in {"embedded", "sqlite"} or "backup.interval_s" in config.sources


class BackupSchedule:
    """Makes a backup whenever the newest one is older than `backup.interval_s`, and prunes.

    Args:
        config: All settings. The child process reads the same sources; store and directory are handed on.
        clock: The clock.
        environment: The environment of the child process; by default that of this process.

    Attributes:
        trouble: The failure of the last backup, in one sentence; empty after a good one.
    """

    def __init__(self, config: Config, clock: Clock, *, environment: Mapping[str, str] | None = None) -> None:
        self._clock = clock
        self._interval_s = config.backup.interval_s
        self._directory = Path(config.backup.directory)
        self._environment = child_environment(config, environment)
        self.trouble = ""

    async def run(self) -> None:
        """Make backups for ever. Cancelling it ends a child process that is under way, and its half-made backup is removed.

        Raises:
            OSError: The directory of the backups cannot be read, or the child process cannot be started.
        """
        while True:
            await self._clock.sleep(await self._wait_s())
            await self._make_backup()

    async def _wait_s(self) -> float:
        """The seconds until the next backup is due, and never at once."""
        last_us = (await asyncio.to_thread(backup_ages, self._directory)).success_us
        due_s = 0.0 if last_us is None else self._interval_s - (self._clock.wall_us() - last_us) / US
        return min(max(due_s, DELAY_S), self._interval_s)

    async def _make_backup(self) -> None:
        started_s = self._clock.monotonic_s()
        child = ChildProcess(CHILD, self._environment)
        try:
            ended = await asyncio.to_thread(child.run)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(child.end))
            raise
        self._report(ended, self._clock.monotonic_s() - started_s)

    def _report(self, ended: ChildOutput, took_s: float) -> None:
        if ended.code == 0:
            self.trouble = ""
            name = msgspec.json.decode(ended.said)["manifest"]["name"]
            log.info("the backup %s was made and read in %.1f s", name, took_s)
        elif ended.code == TRY_LATER and ended.reason:  # another process makes one
            log.warning("no backup was made: %s", ended.reason)
        else:
            self.trouble = f"the last backup failed or is inconclusive: {ended.reason or _why(ended.said)}"
            log.error("%s", self.trouble)


def _why(said: bytes) -> str:
    try:
        return str(msgspec.json.decode(said)["why"])
    except (msgspec.MsgspecError, KeyError, TypeError):
        return said.decode(errors="replace")[:200]
