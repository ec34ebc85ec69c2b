"""The rows of a SQLite store, written and read in bulk: the file that holds the contents of another engine's store."""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias, cast

import apsw

from realmkeep.storage.sqlite_file import SqliteFile

Entry: TypeAlias = tuple[
    str, bytes | None, int | None
]  # key; value, None for a list; expiry in microseconds, None for none
ListEntry: TypeAlias = tuple[str, int, bytes]  # key, position, value

FLAGS: Final = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_NOFOLLOW
_ADD_ENTRY: Final = "INSERT INTO entry (key, value, expires_us) VALUES (?, ?, ?)"
_ADD_LIST_ENTRY: Final = "INSERT INTO list_entry (key, position, value) VALUES (?, ?, ?)"


class RowWriter:
    """Fills a new store in one transaction."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def add_entries(self, rows: Iterable[Entry]) -> None:
        """Add keys with their values. Blocks.

        Raises:
            apsw.Error: SQLite refuses.
        """
        self._connection.executemany(_ADD_ENTRY, rows)

    def add_list_entries(self, rows: Iterable[ListEntry]) -> None:
        """Add entries of lists. Blocks.

        Raises:
            apsw.Error: SQLite refuses.
        """
        self._connection.executemany(_ADD_LIST_ENTRY, rows)


@contextmanager
def new_store(path: Path) -> Generator[RowWriter]:
    """Make a SQLite store in one file, filled by the block. Blocks.

    Raises:
        StorageError: The file cannot be made.
        apsw.Error: SQLite refuses.
    """
    with closing(SqliteFile.open(path)) as file:
        connection = cast("Any", file.writer)
        connection.execute("BEGIN")
        yield RowWriter(connection)
        connection.execute("COMMIT")
    with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)) as connection:
        cast("Any", connection).execute("PRAGMA journal_mode = DELETE").fetchall()  # one file, without a log beside it


@contextmanager
def read_rows(path: Path) -> Generator[tuple[Iterator[Entry], Iterator[ListEntry]]]:
    """Every key of a SQLite store, and every entry of its lists in their order. Blocks.

    Raises:
        apsw.Error: SQLite refuses.
    """
    with closing(apsw.Connection(str(path), flags=FLAGS)) as connection:
        driver = cast("Any", connection)
        entries = driver.execute("SELECT key, value, expires_us FROM entry ORDER BY key")
        lists = driver.execute("SELECT key, position, value FROM list_entry ORDER BY key, position")
        yield entries, lists
