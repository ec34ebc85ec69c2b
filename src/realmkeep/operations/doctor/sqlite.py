"""Examines a SQLite file: whether it is whole, how it commits, and the disk under it."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult

from realmkeep.clock import Clock
from realmkeep.operations.doctor.disk import file_system_findings, fsync_findings, fsync_median_s, room_findings
from realmkeep.operations.doctor.findings import Examined, Finding
from realmkeep.operations.doctor.machine import Machine
from realmkeep.storage.sqlite import CAPABILITY, path_of
from realmkeep.storage.sqlite_file import SqliteState, look_at

SYNCHRONOUS_FULL: Final = 2


async def examine(url: SplitResult, machine: Machine, clock: Clock, examined: Examined) -> None:
    """Examine the file of a URL, also while a server has it open; nothing is changed.

    Raises:
        ConfigError: The URL names no path, or has another part.
        StorageUnavailable: There is no file, it cannot be read, or another program kept it locked.
        StorageMisconfigured: The file is foreign or newer, or this user may not read it.
    """
    state = await asyncio.to_thread(look_at, Path(path_of(url)))
    examined.engine, examined.promise = CAPABILITY.engine, CAPABILITY.promise
    examined.findings += state_findings(state)
    await asyncio.to_thread(_disk, state, machine, clock, examined)


def state_findings(state: SqliteState) -> Iterator[Finding]:
    """Yield the faults of a file itself."""
    if state.damage:
        yield Finding(
            "file-damaged",
            "danger",
            f"{state.path} is damaged: {state.damage.splitlines()[0]}",
            "players in the damaged part cannot be read, and the server does not start with it",
            "stop the server, keep a copy of the file, and restore a backup (docs/restoring.md)",
            promise="nothing, because its file is damaged",
        )
    if state.journal_mode != "wal":
        yield Finding(
            "no-write-ahead-log",
            "warning",
            f"the file commits with journal mode {state.journal_mode}",
            "readers and the writer wait for each other, so logins delay trades; another program has changed it",
            f"start the server again: it sets the mode; or sqlite3 {state.path} 'PRAGMA journal_mode = WAL'",
        )
    if state.synchronous < SYNCHRONOUS_FULL:
        yield Finding(
            "no-fsync-at-commit",
            "danger",
            f"this SQLite does not accept synchronous = FULL, and stays at {state.synchronous}",
            "a commit returns before its fsync, and a power loss takes acknowledged trades",
            "pip install --force-reinstall apsw   (its own SQLite accepts it)",
            promise="acknowledged operations survive a crash of the server, but not a loss of power",
        )


def _disk(state: SqliteState, machine: Machine, clock: Clock, examined: Examined) -> None:
    directory = state.path.parent
    if machine.is_linux:
        examined.findings += file_system_findings(machine, directory)
    examined.findings += room_findings(directory, state.files_bytes)
    if os.access(directory, os.W_OK | os.X_OK):
        examined.findings += fsync_findings(fsync_median_s(directory, clock), directory)
    else:
        examined.unexamined.append(f"the fsync: this user may not write in {directory}; run doctor as its owner")
