"""Opening a SQLite file: make it, lock it, make sure that it is ours and whole. And what SQLite's errors mean."""

import os
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import apsw

from realmkeep.errors import (
    FileRefused,
    OutcomeUnknown,
    StorageError,
    StorageFull,
    StorageLocked,
    StorageMisconfigured,
    StorageUnavailable,
)
from realmkeep.files import check_private, open_private, real_path
from realmkeep.storage.sqlite_contents import Connection, statement

APPLICATION_ID: Final = int.from_bytes(b"Rlmk", "big")  # in the file's header, where file(1) finds it
SCHEMA_VERSION: Final = 1
SUFFIXES: Final = ("", "-wal", "-shm", "-journal", "-lock", "-new", "-new-journal", "-new-wal", "-new-shm")
BUSY_MS: Final = 5000  # somebody else's tool may be writing; a server of ours never is, see the lock

T = TypeVar("T", bound=StorageError)

_MEANINGS: Final[dict[type[apsw.Error], tuple[type[StorageError], str]]] = {
    apsw.FullError: (StorageFull, "make room on its disk"),
    apsw.BusyError: (StorageUnavailable, "another program has it locked; close that"),
    apsw.LockedError: (StorageUnavailable, "another program has it locked; close that"),
    apsw.IOError: (StorageUnavailable, "look at the disk and at the system's log"),
    apsw.NoMemError: (StorageUnavailable, "the machine is out of memory"),
    apsw.ReadOnlyError: (StorageMisconfigured, "let this user write the file and its directory"),
    apsw.PermissionsError: (StorageMisconfigured, "let this user write the file and its directory"),
    apsw.CantOpenError: (StorageMisconfigured, "its directory must exist, and this user must be able to write there"),
    apsw.CorruptError: (StorageMisconfigured, "it is damaged; keep a copy of it and restore a backup"),
    apsw.NotADBError: (StorageMisconfigured, "give another path; it was not touched"),
}


def meaning(path: Path, error: apsw.Error) -> StorageError:
    """The error that callers see for what SQLite said; nothing was changed."""
    kind, hint = _MEANINGS.get(type(error), (StorageUnavailable, "see the cause"))
    return _caused(kind(f"{path}: {error}", hint=hint), error)


def meaning_of_failed_commit(path: Path, error: apsw.Error) -> StorageError:
    """As `meaning`, for a COMMIT.

    After an I/O error the write-ahead log may hold the whole transaction, or may not: it is rolled back here, and the
    next commit overwrites it, but a crash before that would bring it back.
    """
    if isinstance(error, apsw.IOError):
        unknown = OutcomeUnknown(
            f"{path}: {error} while committing", hint="read what it guards on, then write it again"
        )
        return _caused(unknown, error)
    return meaning(path, error)


@dataclass(frozen=True)
class SqliteFile:
    """An open file: two connections, and the lock that keeps a second server away. Blocks; not for the event loop.

    Attributes:
        path: Where it really is.
        writer: For the thread that writes.
        reader: For the thread that reads.
    """

    path: Path
    writer: Connection
    reader: Connection
    _lock: Connection

    @staticmethod
    def open(path: Path) -> "SqliteFile":
        """Open the file at `path`, or make it.

        Raises:
            StorageMisconfigured: It is not ours, newer, damaged, or cannot be written. It was not touched.
            StorageLocked: Another server has it open.
            StorageUnavailable: It could not be read; or another program kept it locked.
        """
        try:
            path = real_path(path)  # whatever names lead to it, there is one lock
            _check_ours(path)
            with ExitStack() as undo:
                lock = undo.enter_context(closing(_lock(path)))
                _check_ours(path)
                _make(path)
                writer = undo.enter_context(closing(_connect(path)))
                _check_whole(path, writer)
                # What a process wrote that died before its fsync is read from the system's memory: a checkpoint syncs it.
                writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                reader = _connect(path)
                undo.pop_all()
                return SqliteFile(path, writer, reader, lock)
        except FileRefused as error:
            raise StorageMisconfigured(error.message, hint=error.hint or "give another path") from error
        except apsw.Error as error:
            raise meaning(path, error) from error
        except OSError as error:
            raise StorageMisconfigured(
                f"{path}: {error.strerror}", hint="its directory must exist, and this user must be able to write there"
            ) from error

    def close(self) -> None:
        """Fold the log into the file and let go of the lock."""
        self.reader.close()
        self.writer.close()
        self._lock.close()


def _check_ours(path: Path) -> None:
    """Look at the header without locks and side files, so that nothing happens to a file that is not ours."""
    there = {suffix for suffix in SUFFIXES if check_private(Path(f"{path}{suffix}"))}
    if "" not in there or path.stat().st_size == 0:
        return
    uri = f"{path.as_uri()}?immutable=1"
    with closing(_open(uri, apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_READONLY)) as header:
        application_id, version = (header.execute(f"PRAGMA {name}").get for name in ("application_id", "user_version"))
    if application_id != APPLICATION_ID:
        raise StorageMisconfigured(
            f"{path} is a SQLite file of another program (application id {application_id})",
            hint="give another path; it was not touched",
        )
    if version != SCHEMA_VERSION:
        raise StorageMisconfigured(
            f"{path} has schema {version}, and this Realmkeep knows {SCHEMA_VERSION}",
            hint="use the Realmkeep that wrote it, or a newer one; it was not touched",
        )


def _lock(path: Path) -> Connection:
    """Hold an exclusive lock on a file beside it until closed; the system lets go of it when the process dies.

    SQLite's own exclusive mode would keep our own reading connection out as well. A lock of SQLite on a file of its own
    works on every system that SQLite works on.
    """
    with ExitStack() as undo:
        _touch(Path(f"{path}-lock"))
        beside = undo.enter_context(closing(_open(f"{path}-lock", apsw.SQLITE_OPEN_READWRITE)))
        try:
            beside.execute("PRAGMA journal_mode = MEMORY").fetchall()  # otherwise a third file, for nothing
            beside.execute("BEGIN EXCLUSIVE")
        except apsw.BusyError as error:
            raise StorageLocked(
                f"another server has {path} open",
                hint="stop it, or give another path; servers that shall share a store need a Valkey or Redis (redis://)",
            ) from error
        undo.pop_all()
        return beside


def _make(path: Path) -> None:
    """Make the file under another name and rename it, so that a file under this name is always whole."""
    if path.exists() and path.stat().st_size > 0:
        return
    log = Path(f"{path}-wal")
    if log.exists() and log.stat().st_size > 0:
        raise StorageMisconfigured(
            f"{log} is there, but {path} is not",
            hint="they belong together: put the file back, or take the log away if both are given up",
        )
    unfinished = Path(f"{path}-new")
    for name in (unfinished, Path(f"{unfinished}-journal"), Path(f"{unfinished}-wal"), Path(f"{unfinished}-shm")):
        name.unlink(missing_ok=True)
    _touch(unfinished)
    with closing(_open(str(unfinished), apsw.SQLITE_OPEN_READWRITE)) as new:
        new.execute(
            f"BEGIN; {statement('schema')}; PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT"
        )
    unfinished.replace(path)


def _touch(path: Path) -> None:
    """Make a file for its owner alone; SQLite would let everybody read it, and gives its mode to the files beside it."""
    with suppress(FileExistsError):
        os.close(open_private(path, os.O_RDWR | os.O_CREAT | os.O_EXCL))


def _connect(path: Path) -> Connection:
    with ExitStack() as undo:
        connection = undo.enter_context(closing(_open(str(path), apsw.SQLITE_OPEN_READWRITE)))
        _configure(path, connection)
        undo.pop_all()
        return connection


def _configure(path: Path, connection: Connection) -> None:
    connection.set_busy_timeout(BUSY_MS)
    if connection.readonly("main"):
        raise StorageMisconfigured(f"{path} cannot be written", hint="let this user write the file and its directory")
    if (mode := connection.execute("PRAGMA journal_mode = WAL").get) != "wal":
        raise StorageMisconfigured(
            f"{path} cannot have a write-ahead log here (journal mode {mode})",
            hint="put it on a local disk, not on a network share",
        )
    # FULL: fsync before each commit returns. The other two matter on macOS, where fsync alone is not enough.
    for setting in ("synchronous = FULL", "fullfsync = ON", "checkpoint_fullfsync = ON"):
        connection.execute(f"PRAGMA {setting}").fetchall()


def _check_whole(path: Path, connection: Connection) -> None:
    found = str(connection.execute("PRAGMA quick_check(1)").get)
    if found != "ok":
        raise StorageMisconfigured(f"{path} is damaged: {found}", hint="keep a copy of it and restore a backup")


def _open(name: str, flags: int) -> Connection:
    try:
        encoded = os.fsencode(name).decode()
    except UnicodeDecodeError as error:
        raise StorageMisconfigured(
            f"the path {name!a} is not UTF-8, in which SQLite names files", hint="rename it"
        ) from error
    return apsw.Connection(encoded, flags=flags | apsw.SQLITE_OPEN_NOFOLLOW)


def _caused(error: T, cause: BaseException) -> T:
    error.__cause__ = cause
    return error
