"""The snapshot of a live SQLite store: SQLite's online backup, all pages in one step."""

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Final, cast
from urllib.parse import SplitResult

import apsw

from realmkeep.clock import Clock
from realmkeep.errors import FileRefused, StorageMisconfigured, StorageUnavailable
from realmkeep.files import open_private, open_trusted, real_path
from realmkeep.keys import SERVER_STORE_ID
from realmkeep.storage.snapshots import PinnedFile, PinnedSnapshot
from realmkeep.storage.sqlite import open_url
from realmkeep.storage.sqlite_contents import Connection, SqliteContents
from realmkeep.storage.sqlite_file import storage_error_for

NAME: Final = "snapshot.db"
BUSY_MS: Final = 5000
FLAGS: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW


@asynccontextmanager
async def pin(url: SplitResult, work: Path, clock: Clock) -> AsyncGenerator[PinnedSnapshot]:
    """Copy and open a `sqlite:///file` store; see `pin_snapshot`. Servers go on writing to its log meanwhile.

    Raises:
        StorageUnavailable: There is no such file, or it cannot be copied now.
        StorageMisconfigured: It is damaged, foreign, or another user's.
    """
    path = open_url(url, clock).path
    taken_us = clock.wall_us()
    try:
        store_id = await asyncio.to_thread(_copy, path, work / NAME, clock)
    except FileRefused as error:
        raise StorageMisconfigured(error.message, hint=error.hint) from error
    except apsw.Error as error:
        raise storage_error_for(path, error) from error
    with await asyncio.to_thread(open_trusted, work / NAME) as file:
        yield PinnedSnapshot(
            engine="sqlite",
            version=f"sqlite {apsw.sqlite_lib_version()}",
            taken_us=taken_us,
            store_id=store_id,
            files=(PinnedFile(NAME, "snapshot", file, os.fstat(file.fileno()).st_size),),
            log_reason="SQLite keeps no log with times",
        )


def _copy(path: Path, to: Path, clock: Clock) -> str:
    """Copy the file, and return the id of its store."""
    path = real_path(path)
    if not path.exists():
        raise StorageUnavailable(f"there is no store {path}", hint="name the file of a store")
    os.close(open_private(to, os.O_RDWR | os.O_CREAT | os.O_EXCL))  # for this user alone, as its side files
    with (
        closing(apsw.Connection(str(path), flags=FLAGS)) as source,
        closing(apsw.Connection(str(to), flags=FLAGS)) as copy,
    ):
        source.set_busy_timeout(BUSY_MS)
        with copy.backup("main", source, "main") as backup:
            while not backup.done:
                backup.step(-1)  # all pages in one transaction: a backup in steps begins anew with each write
        copied = cast("Connection", copy)
        copied.execute("PRAGMA journal_mode = DELETE").fetchall()  # one file, without a log beside it
        store_id = SqliteContents(copied, clock).value(SERVER_STORE_ID)
    return (store_id or b"").decode(errors="replace")
