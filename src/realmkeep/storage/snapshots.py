"""Pins the files of a live store's snapshot, so that a backup can read them while the store goes on."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import BinaryIO, Final, Literal, NamedTuple, TypeAlias, cast
from urllib.parse import SplitResult, urlsplit

from realmkeep.clock import Clock
from realmkeep.errors import ConfigError, StorageMisconfigured

Part: TypeAlias = Literal["snapshot", "base", "increment"]
Engine: TypeAlias = Literal["valkey", "sqlite"]


class PinnedFile(NamedTuple):
    """A file that cannot change under its reader.

    Attributes:
        name: Its name in a backup.
        part: `snapshot`: the whole store. `base` and `increment`: its append-only files, in their order.
        file: Open for reading. The store may replace the name meanwhile; the descriptor keeps the contents.
        size: The bytes to read; a store may append more.
    """

    name: str
    part: Part
    file: BinaryIO
    size: int


@dataclass(frozen=True)
class PinnedSnapshot:
    """A snapshot of a live store.

    Attributes:
        engine: The kind of its files: `valkey` (Redis too) or `sqlite` (Postgres too).
        version: The name and version of the engine.
        taken_us: Every write that was acknowledged before this moment, in microseconds since 1970, is in the snapshot.
        store_id: The id of the store (`server:store-id`); empty if it has none yet.
        files: The files.
        log_from_s: The first second to which the append-only files can be cut; None without such files.
        log_to_s: The last such second.
        log_reason: The reason why there are no append-only files; empty if there are.
    """

    engine: Engine
    version: str
    taken_us: int
    store_id: str
    files: tuple[PinnedFile, ...]
    log_from_s: int | None = None
    log_to_s: int | None = None
    log_reason: str = ""


Pin = Callable[[SplitResult, Path, Clock], AbstractAsyncContextManager[PinnedSnapshot]]

_MODULES: Final = {
    "sqlite": "realmkeep.storage.sqlite_snapshot",
    "redis": "realmkeep.storage.redis_snapshot",
    "rediss": "realmkeep.storage.redis_snapshot",
    "redis+unix": "realmkeep.storage.redis_snapshot",
    "embedded": "realmkeep.storage.embedded_snapshot",
    "postgresql": "realmkeep.storage.postgres.snapshot",
}


def pin_snapshot(url: str, work: Path, clock: Clock) -> AbstractAsyncContextManager[PinnedSnapshot]:
    """Take a snapshot of a live store, and keep its files open for the block. No server has to stop.

    Args:
        url: The store, as for `open_storage`.
        work: A directory of this user alone, for a copy where an engine has to make one.
        clock: The clock.

    Returns:
        A context manager of the snapshot. Entering it raises `StorageUnavailable` if the store cannot be reached or has no
        room for a snapshot, `StorageMisconfigured` if its files cannot be read here.

    Raises:
        StorageMisconfigured: The store has no files: `memory://` ends with its process.
        ConfigError: The URL is malformed.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # its message repeats parts of the URL
        raise ConfigError("the storage URL is malformed", hint="see open_storage for the forms") from None
    if parts.scheme not in _MODULES:
        raise StorageMisconfigured(
            f"a {parts.scheme}:// store cannot be backed up by Realmkeep",
            hint="memory:// ends with its process, so nothing of it is left to restore"
            if parts.scheme == "memory"
            else "back up the files of its servers, or a copy: realmkeep store copy"
            if parts.scheme.endswith(("-cluster", "-sentinel"))
            else "use the tools of its engine; docs/backups.md names them",
        )
    try:
        module = import_module(_MODULES[parts.scheme])
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "realmkeep":
            raise
        raise StorageMisconfigured(
            f"{parts.scheme}:// needs the package {error.name}, which is not installed",
            hint="pip install 'realmkeep[all]'",
        ) from error
    return cast("Pin", module.pin)(parts, work, clock)
