"""A scratch store: the contents of a backup, loaded by a real engine in a directory of its own."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final

from realmkeep.errors import BackupError
from realmkeep.files import make_directory, replace_file
from realmkeep.operations.backup.packing import unpack
from realmkeep.operations.backup.workplace import STORE
from realmkeep.storage.append_only import FOLDER, MANIFEST, cut_after_second
from realmkeep.storage.snapshot_file import SNAPSHOT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence
    from pathlib import Path

    from realmkeep.clock import Clock
    from realmkeep.operations.backup.manifest import Manifest
    from realmkeep.storage import Storage

SQLITE: Final = "store.db"

log = logging.getLogger("realmkeep.storage.embedded_process")  # a filter holds for its own logger only


@asynccontextmanager
async def scratch_store(
    backup: Path,
    manifest: Manifest,
    work: Path,
    *,
    identities: Sequence[Any],
    clock: Clock,
    second: int | None = None,
) -> AsyncGenerator[Storage]:
    """Load a backup into a scratch store, connected for the block, and stop it at the end. Its files stay in `work`.

    Args:
        backup: The directory of the backup; its files have been compared with their digests.
        manifest: Its manifest.
        work: An empty directory of this user alone.
        identities: Secret keys, for an encrypted backup.
        clock: The clock.
        second: Load the state at the end of this second, since 1970, instead of the snapshot.

    Raises:
        MissingIdentity: It is encrypted for other keys.
        BackupDamaged: A file cannot be decrypted.
        BackupError: It cannot be brought to that second.
        StorageError: The engine does not start, or not on these files.
        OSError: A file cannot be read or written.
    """
    if manifest.engine == "sqlite":
        from realmkeep.storage.sqlite import SqliteStorage  # noqa: PLC0415 - imports a driver

        await asyncio.to_thread(_unpack_snapshot, backup, manifest, work / SQLITE, identities)
        storage: Storage = SqliteStorage(work / SQLITE, clock=clock)
    else:
        from realmkeep.storage.embedded import EmbeddedStorage  # noqa: PLC0415 - imports a driver

        directory = await asyncio.to_thread(make_directory, work / STORE)
        if second is None:
            await asyncio.to_thread(_unpack_snapshot, backup, manifest, directory / SNAPSHOT, identities)
        else:
            await asyncio.to_thread(_unpack_log, backup, manifest, directory, identities, second)
        storage = EmbeddedStorage(directory, clock=clock)
    with _quiet_about(work):
        try:
            await storage.connect()
            yield storage
        finally:
            await storage.disconnect()


@contextmanager
def _quiet_about(work: Path) -> Generator[None]:
    """Drop the log lines about the scratch store: for a live store it would be news that it starts from a snapshot."""

    def is_of_others(record: logging.LogRecord) -> bool:
        return str(work) not in record.getMessage()

    log.addFilter(is_of_others)
    try:
        yield
    finally:
        log.removeFilter(is_of_others)


def scratch_path(work: Path, manifest: Manifest) -> Path:
    """The file or directory of a scratch store in a workplace."""
    return work / (SQLITE if manifest.engine == "sqlite" else STORE)


def _unpack_snapshot(backup: Path, manifest: Manifest, to: Path, identities: Sequence[Any]) -> None:
    for entry in manifest.files:
        if entry.part == "snapshot":
            unpack(backup, entry, to, identities)


def _unpack_log(backup: Path, manifest: Manifest, directory: Path, identities: Sequence[Any], second: int) -> None:
    """Put the append-only files into a store's directory, cut at the end of a second."""
    from_s, to_s = manifest.log_from_s, manifest.log_to_s
    if from_s is None or to_s is None or not from_s <= second <= to_s:
        raise BackupError(
            f"the backup {manifest.name} does not reach to that second: {manifest.log_reason or 'it lies outside its log'}",
            hint="realmkeep backup list shows the times that each backup reaches",
        )
    make_directory(directory / FOLDER)
    lines: list[str] = []
    for number, entry in enumerate(manifest.files):
        if entry.part == "snapshot":
            continue
        kind, name = ("b", f"appendonly.aof.{number}.base.rdb") if entry.part == "base" else _increment(number)
        path = directory / FOLDER / name
        unpack(backup, entry, path, identities)
        lines.append(f"file {name} seq {number} type {kind}\n")
        if kind == "i" and cut_after_second(path, second):
            break
    replace_file(directory / MANIFEST, "".join(lines).encode())


def _increment(number: int) -> tuple[str, str]:
    return "i", f"appendonly.aof.{number}.incr.aof"
