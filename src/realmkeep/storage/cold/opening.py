"""Opens the cold store of a URL; its driver is imported only then."""

from urllib.parse import urlsplit

from realmkeep.clock import Clock, SystemClock
from realmkeep.errors import ConfigError, StorageMisconfigured
from realmkeep.storage.cold.memory import MemoryColdStore
from realmkeep.storage.cold.protocol import ColdStore


def open_cold_store(url: str, *, clock: Clock | None = None) -> ColdStore:
    """Return the cold store at `url`, not connected yet.

    Args:
        url: `postgresql://user@host/database`, or `memory://` for one that dies with this process.
        clock: The clock; by default the machine's.

    Raises:
        ConfigError: The URL has another scheme, or is malformed. The message does not repeat it.
        StorageMisconfigured: psycopg is not installed.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # its message repeats parts of the URL
        raise ConfigError("the URL of the cold store is malformed", hint="postgresql://user@host/database") from None
    if parts.scheme == "memory":
        return MemoryColdStore()
    if parts.scheme != "postgresql":
        raise ConfigError("a cold store is a PostgreSQL", hint="archive.url = postgresql://user@host/database")
    try:
        from realmkeep.storage.cold.postgres import PostgresColdStore  # noqa: PLC0415 - only such a store needs psycopg
        from realmkeep.storage.postgres.address import parse_postgres_url  # noqa: PLC0415 - as above
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "realmkeep":
            raise
        raise StorageMisconfigured(
            f"a cold store needs the package {error.name}, which is not installed",
            hint="pip install 'realmkeep[postgres]'",
        ) from error
    return PostgresColdStore(parse_postgres_url(parts), clock=clock or SystemClock())
