"""The store that a backup is restored into: it must be empty, and it is complete or still empty at any moment."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

from realmkeep.errors import RestoreRefused
from realmkeep.files import make_directory, sync_directory
from realmkeep.operations.backup.live_target import DatabaseTarget, LiveTarget
from realmkeep.storage import open_storage
from realmkeep.storage.embedded_config import StoreSettings

if TYPE_CHECKING:
    from pathlib import Path

    from realmkeep.clock import Clock
    from realmkeep.operations.backup.manifest import Manifest


class Target(Protocol):
    """A store to restore into."""

    @property
    def beside(self) -> Path | None:
        """A directory on the disk of its files, for the scratch store; None for a server that runs by itself."""
        ...

    async def check(self) -> None:
        """Check that the store is empty and not in use.

        Raises:
            RestoreRefused: It is not empty, or live servers use it.
            StorageLocked: A server has it open.
            StorageError: It cannot be reached.
            OSError: Its directory cannot be used.
        """
        ...

    async def fill(self, scratch: Path) -> None:
        """Copy the contents of the running scratch store, if the store is a server that runs by itself.

        Raises:
            RestoreRefused: It is not empty any more.
            StorageError: It cannot be reached.
        """
        ...

    async def publish(self, scratch: Path) -> None:
        """Put the files of the stopped scratch store into their place, all of them at one moment.

        Raises:
            RestoreRefused: The place is taken by now.
            OSError: The system refused.
        """
        ...


@dataclass(frozen=True)
class EmbeddedTarget:
    """The directory of an embedded store."""

    directory: Path
    clock: Clock

    @property
    def beside(self) -> Path | None:
        """The parent directory: a rename stays on one disk."""
        return self.directory.parent

    async def check(self) -> None:
        """As `Target.check`."""
        await asyncio.to_thread(make_directory, self.directory.parent)
        if not await asyncio.to_thread(_has_entries, self.directory):
            return
        if await asyncio.to_thread((self.directory / "server.lock").exists):
            from realmkeep.storage.embedded_process import StoreProcess  # noqa: PLC0415 - imports a driver

            process = StoreProcess(self.directory, StoreSettings(str(self.directory)), clock=self.clock)
            await process.lock()
            process.unlock()
        raise _not_empty(self.directory)

    async def fill(self, scratch: Path) -> None:
        """Do nothing: the files are moved."""

    async def publish(self, scratch: Path) -> None:
        """Rename the directory of the scratch store."""
        await asyncio.to_thread(self._publish, scratch)

    def _publish(self, scratch: Path) -> None:
        try:
            scratch.rename(self.directory)  # takes the place of an empty directory, and of no other
        except OSError as error:
            if _has_entries(self.directory):
                raise _not_empty(self.directory) from error
            raise
        sync_directory(self.directory.parent)


@dataclass(frozen=True)
class SqliteTarget:
    """The file of a SQLite store."""

    path: Path

    @property
    def beside(self) -> Path | None:
        """The directory of the file: a link stays on one disk."""
        return self.path.parent

    async def check(self) -> None:
        """As `Target.check`."""
        await asyncio.to_thread(make_directory, self.path.parent)
        if not await asyncio.to_thread(self._exists):
            return
        from realmkeep.storage.sqlite import SqliteStorage  # noqa: PLC0415 - imports a driver

        storage = SqliteStorage(self.path)
        await storage.connect()  # a server that has it open keeps it locked
        await storage.disconnect()
        raise _not_empty(self.path)

    async def fill(self, scratch: Path) -> None:
        """Do nothing: the file is moved."""

    async def publish(self, scratch: Path) -> None:
        """Give the file of the scratch store its new name."""
        await asyncio.to_thread(self._publish, scratch)

    def _exists(self) -> bool:
        return any(self.path.with_name(self.path.name + suffix).exists() for suffix in ("", "-wal"))

    def _publish(self, scratch: Path) -> None:
        try:
            os.link(scratch, self.path)  # fails if the name is taken, unlike a rename
        except FileExistsError as error:
            raise _not_empty(self.path) from error
        scratch.unlink()
        sync_directory(self.path.parent)


def _has_entries(directory: Path) -> bool:
    with suppress(FileNotFoundError):
        return any(directory.iterdir())
    return False


def _not_empty(path: Path) -> RestoreRefused:
    return RestoreRefused(
        f"{path} is not empty, and a restore replaces no store",
        hint=f"stop its server, keep the old state, and try again: mv {path} {path}.before",
    )


def target_of(url: str, manifest: Manifest, clock: Clock) -> Target:
    """The target of a URL.

    Raises:
        RestoreRefused: The backup is of another kind of store.
        ConfigError: The URL is malformed.
        StorageMisconfigured: The driver for it is not installed.
    """
    scheme = urlsplit(url).scheme
    if scheme.endswith(("-cluster", "-sentinel")):
        raise RestoreRefused(
            f"a backup is not restored into {scheme}:// at once",
            hint="restore it into an embedded or a single store, and copy that: realmkeep store copy",
        )
    wanted = {"sqlite": "sqlite", "postgresql": "sqlite", "memory": "memory"}.get(scheme, "valkey")
    if wanted != manifest.engine:
        raise RestoreRefused(
            f"the backup {manifest.name} is of a {manifest.engine} store and cannot be restored into {scheme}://",
            hint="sqlite:// or postgresql:// for sqlite; embedded://, redis:// or redis+unix:// for valkey",
        )
    storage = open_storage(url, clock=clock)
    if scheme == "sqlite":
        from realmkeep.storage.sqlite import SqliteStorage  # noqa: PLC0415 - imports a driver

        assert isinstance(storage, SqliteStorage)
        return SqliteTarget(storage.path.absolute())
    if scheme == "embedded":
        from realmkeep.storage.embedded import EmbeddedStorage  # noqa: PLC0415 - imports a driver

        assert isinstance(storage, EmbeddedStorage)
        return EmbeddedTarget(storage.directory, clock)
    return DatabaseTarget(url, storage, clock) if scheme == "postgresql" else LiveTarget(url, storage, clock)
