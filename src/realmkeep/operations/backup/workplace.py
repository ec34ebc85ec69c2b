"""Directories for scratch stores, beside the backups. One that a killed process left behind is found and removed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from realmkeep.errors import BackupBusy
from realmkeep.files import make_directory, open_private
from realmkeep.storage.embedded_config import StoreSettings

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from realmkeep.clock import Clock

PREFIX: Final = ".work-"
LOCK: Final = "lock"
STORE: Final = "store"


@asynccontextmanager
async def workplace(directory: Path, clock: Clock) -> AsyncGenerator[Path]:
    """Make a new directory of this process beside the backups, and remove it at the end of the block.

    Args:
        directory: The directory of the backups; it needs room for the contents of a backup.
        clock: The clock.

    Raises:
        OSError: It cannot be made.
    """
    await remove_leftovers(directory, clock)
    path = directory / f"{PREFIX}{secrets.token_hex(4)}"
    lock = await asyncio.to_thread(_make, path)
    try:
        yield path
    finally:
        try:
            await _end_store(path / STORE, clock)  # a start that was cancelled may have started it
            await asyncio.to_thread(shutil.rmtree, path)
        finally:
            os.close(lock)


def _make(path: Path) -> int:
    make_directory(path)
    lock = _take_lock(path / LOCK)
    assert lock is not None  # its name is new
    return lock


async def remove_leftovers(directory: Path, clock: Clock) -> None:
    """Remove the workplaces of killed processes, and end the scratch stores that still run there.

    Raises:
        StorageError: A scratch store does not end.
        OSError: A workplace cannot be removed.
    """
    for path in await asyncio.to_thread(lambda: sorted(directory.glob(f"{PREFIX}*"))):
        lock = await asyncio.to_thread(_take_lock, path / LOCK)
        if lock is None:
            continue  # its process lives
        try:
            await _end_store(path / STORE, clock)
            await asyncio.to_thread(shutil.rmtree, path)
        finally:
            os.close(lock)


async def _end_store(directory: Path, clock: Clock) -> None:
    """End the scratch store of a directory, if one runs there."""
    if not await asyncio.to_thread((directory / "store.lock").exists):
        return
    from realmkeep.storage.embedded_process import StoreProcess  # noqa: PLC0415 - imports a driver

    process = StoreProcess(directory, StoreSettings(str(directory)), clock=clock)
    await process.stop()


@asynccontextmanager
async def locked(directory: Path) -> AsyncGenerator[None]:
    """Keep other processes from making or pruning backups in a directory for the block.

    Raises:
        BackupBusy: Another process does.
        OSError: The lock cannot be opened.
    """
    lock = await asyncio.to_thread(_take_lock, directory / LOCK)
    if lock is None:
        raise BackupBusy(f"another process makes or prunes backups in {directory}", hint="wait until it has ended")
    try:
        yield
    finally:
        os.close(lock)


def _take_lock(path: Path) -> int | None:
    """The descriptor of a locked file, which is made if absent; None if a live process holds the lock."""
    lock = open_private(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    return lock
