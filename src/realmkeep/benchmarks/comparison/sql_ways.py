"""The same work in SQLite, as one table of keys and values."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

import apsw

from realmkeep.storage.embedded_config import Fsync

SYNCHRONOUS: Final[dict[Fsync, str]] = {"always": "FULL", "everysec": "NORMAL"}


class SqliteWay:
    """A database in WAL mode, on one connection. Blocks: call it in one thread."""

    def __init__(self, directory: Path) -> None:
        self._directory = tempfile.TemporaryDirectory(dir=directory)
        self._connection: Any = apsw.Connection(
            str(Path(self._directory.name) / "kept.db")
        )  # its stub is partly unknown
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("CREATE TABLE kept (key TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID")
        self.wait_for_the_disk("always")

    def wait_for_the_disk(self, fsync: Fsync) -> None:
        """`always`: each transaction ends on the disk (`synchronous=FULL`); `everysec`: some time later (`NORMAL`)."""
        self._connection.execute(f"PRAGMA synchronous={SYNCHRONOUS[fsync]}")

    def save(self, pairs: Sequence[tuple[str, bytes]]) -> None:
        """Write keys and values in one transaction."""
        with self._connection:
            self._connection.executemany("INSERT OR REPLACE INTO kept VALUES (?, ?)", pairs)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.close()
        self._directory.cleanup()
