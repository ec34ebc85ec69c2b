"""A Valkey of the drill's own, as `realmkeep store config` configures it."""

from pathlib import Path
from typing import Final

from realmkeep.drill.checks.contents import Keys, Snapshot, read_redis
from realmkeep.drill.stores.store import Trait
from realmkeep.storage.embedded_config import Fsync
from realmkeep.testing.servers import StoreServer

IMPATIENT: Final = "?timeout_s=0.6"  # then the outcome of a write is unknown
_TRAITS: Final = frozenset(
    {Trait.OWN, Trait.DIRECTORY, Trait.PROCESS, Trait.SHARED, Trait.FILES, Trait.COMMANDS, Trait.LINK, Trait.SHIM}
)


class RedisStore(StoreServer):
    """A Valkey on a unix socket.

    Args:
        directory: Of its files.
        fsync: `always` or `everysec`.
    """

    def __init__(self, directory: Path, *, fsync: Fsync = "always") -> None:
        super().__init__(directory, fsync=fsync)
        self.traits = _TRAITS | {Trait.LOSSLESS} if fsync == "always" else _TRAITS - {Trait.FILES}

    def pid(self) -> int | None:
        """Return its process, if it lives."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def url_behind(self, listen: Path) -> str:
        """Return its URL behind a proxy."""
        return f"redis+unix://{listen}"

    def read(self, keys: Keys) -> Snapshot:
        """Read it at one moment."""
        return read_redis(keys, unix_socket_path=str(self.socket_path))

    def read_at_rest(self, keys: Keys) -> Snapshot:
        """Read it as at any time."""
        return self.read(keys)
