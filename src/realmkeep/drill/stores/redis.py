"""A Valkey of the drill's own, as `realmkeep store config` configures it."""

from pathlib import Path
from typing import Final, cast

from realmkeep.drill.checks.contents import Keys, Snapshot, read_redis
from realmkeep.drill.link import Endpoint
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

    @property
    def endpoint(self) -> Path:
        """Its socket."""
        return self.socket_path

    def url_behind(self, listen: Endpoint) -> str:
        """Return its URL behind a proxy."""
        return f"redis+unix://{listen}"

    def read(self, keys: Keys) -> Snapshot:
        """Read it at one moment."""
        return read_redis(keys, unix_socket_path=str(self.socket_path))

    def read_at_rest(self, keys: Keys) -> Snapshot:
        """Read it as at any time."""
        return self.read(keys)

    def wall_s(self) -> float:
        """Return the time by its own clock."""
        return time_of(self.ask("TIME"))


def time_of(answer: object) -> float:
    """Return the answer to TIME in seconds."""
    seconds, microseconds = cast("list[bytes]", answer)
    return int(seconds) + int(microseconds) / 1e6
