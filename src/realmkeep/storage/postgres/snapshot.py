"""The snapshot of a live Postgres store: both tables as of one moment, kept as a SQLite store.

A dump of `pg_dump` would need a program that is no older than the server, and another server to be read again. A SQLite store
is read on any machine, by the same code as every other store.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final, LiteralString
from urllib.parse import SplitResult

import psycopg
from psycopg.conninfo import make_conninfo

from realmkeep.clock import Clock
from realmkeep.errors import RestoreRefused
from realmkeep.files import open_trusted
from realmkeep.keys import SERVER_STORE_ID
from realmkeep.storage.postgres.address import PostgresAddress, parse_postgres_url
from realmkeep.storage.postgres.connection import storage_error
from realmkeep.storage.snapshots import PinnedFile, PinnedSnapshot
from realmkeep.storage.sqlite_rows import Entry, ListEntry, new_store, read_rows

NAME: Final = "snapshot.db"
LOG_REASON: Final = "Postgres restores any moment from its own archive of write-ahead logs"
_BEGIN_READING: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_ENTRIES: Final = """COPY (
  SELECT key, value, expires_us FROM realmkeep_entry WHERE key > '' AND (value IS NOT NULL OR next > first)
) TO STDOUT (FORMAT BINARY)"""
_LIST_ENTRIES: Final = """COPY (
  SELECT l.key, l.position, l.value FROM realmkeep_list l JOIN realmkeep_entry e USING (key)
  WHERE e.value IS NULL AND l.position >= e.first AND l.position < e.next
) TO STDOUT (FORMAT BINARY)"""
_ANY: Final = "SELECT count(*) FROM realmkeep_entry WHERE key > '' AND (value IS NOT NULL OR next > first)"


@asynccontextmanager
async def pin(url: SplitResult, work: Path, clock: Clock) -> AsyncGenerator[PinnedSnapshot]:
    """Copy a `postgresql://` store into a SQLite store, and open that; see `pin_snapshot`. No writer waits.

    Raises:
        StorageError: The database cannot be reached, or refuses.
    """
    address = parse_postgres_url(url)
    taken_us = clock.wall_us()
    version, store_id = await asyncio.to_thread(_copy, address, work / NAME)
    with await asyncio.to_thread(open_trusted, work / NAME) as file:
        yield PinnedSnapshot(
            engine="sqlite",
            version=version,
            taken_us=taken_us,
            store_id=store_id,
            files=(PinnedFile(NAME, "snapshot", file, os.fstat(file.fileno()).st_size),),
            log_reason=LOG_REASON,
        )


def _copy(address: PostgresAddress, to: Path) -> tuple[str, str]:
    """Copy the tables; return the server's version, and the id of the store."""
    with _connected(address) as driver, new_store(to) as store:
        driver.execute(_BEGIN_READING)
        found = driver.execute("SELECT value FROM realmkeep_entry WHERE key = %s", [SERVER_STORE_ID]).fetchone()
        store.add_entries(_rows(driver, _ENTRIES, ["text", "bytea", "int8"]))
        store.add_list_entries(_rows(driver, _LIST_ENTRIES, ["text", "int8", "bytea"]))
        number = driver.info.server_version
        store_id = b"" if found is None else bytes(found[0] or b"")
        return f"postgresql {number // 10_000}.{number % 10_000}", store_id.decode(errors="replace")


def _rows(driver: "psycopg.Connection[Any]", statement: LiteralString, types: list[str]) -> Iterator[Any]:
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(types)
        yield from copy.rows()


def fill_database(address: PostgresAddress, path: Path) -> None:
    """Copy a SQLite store into the empty tables of a database, in one transaction. Blocks.

    Args:
        address: The database; its tables exist.
        path: The SQLite store.

    Raises:
        RestoreRefused: The tables are not empty.
        StorageError: The database cannot be reached, or refuses; nothing was changed.
    """
    with _connected(address) as driver, read_rows(path) as (entries, list_entries):
        driver.execute("BEGIN")
        driver.execute("LOCK TABLE realmkeep_entry, realmkeep_list IN ACCESS EXCLUSIVE MODE")
        (count,) = driver.execute(_ANY).fetchone() or (0,)
        if count:
            raise RestoreRefused(f"the store {address} is not empty ({count:,} keys)", hint="name an empty store")
        driver.execute("DELETE FROM realmkeep_list")
        driver.execute("DELETE FROM realmkeep_entry WHERE key > ''")  # rows of keys that are gone
        ends = _add_list_entries(driver, list_entries)
        _add_entries(driver, entries, ends)
        driver.execute("COMMIT")


def _add_list_entries(driver: "psycopg.Connection[Any]", rows: Iterable[ListEntry]) -> dict[str, tuple[int, int]]:
    """Add the entries; return the first position of each list, and the position after its last."""
    ends: dict[str, tuple[int, int]] = {}
    statement = "COPY realmkeep_list (key, position, value) FROM STDIN (FORMAT BINARY)"
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(["text", "int8", "bytea"])
        for key, position, value in rows:
            copy.write_row((key, position, value))
            first, _ = ends.get(key, (position, position))
            ends[key] = first, position + 1
    return ends


def _add_entries(driver: "psycopg.Connection[Any]", rows: Iterable[Entry], ends: dict[str, tuple[int, int]]) -> None:
    statement = "COPY realmkeep_entry (key, value, first, next, expires_us) FROM STDIN (FORMAT BINARY)"
    with driver.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(["text", "bytea", "int8", "int8", "int8"])
        for key, value, expires_us in rows:
            copy.write_row((key, value, *ends.get(key, (0, 0)), expires_us))


@contextmanager
def _connected(address: PostgresAddress) -> "Generator[psycopg.Connection[Any]]":
    """A connection without a limit of time for its statements; what is not committed at the end is undone."""
    try:
        secret = address.read_password()
        with psycopg.connect(make_conninfo(**address.parameters, **secret), autocommit=True) as driver:
            driver.execute("SET statement_timeout = 0")
            yield driver
            driver.execute("ROLLBACK")  # a reading transaction; one that was committed is over
    except psycopg.Error as error:
        raise storage_error(error, address, sent=False) from error
