"""Opens a SQLite file: makes it, locks it, checks that it is Realmkeep's and undamaged. Also maps SQLite's errors."""

import os
from collections.abc import Generator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

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

APPLICATION_ID: Final = int.from_bytes(b"Rlmk", "big")  # in the file's header; file(1) shows it
SCHEMA_VERSION: Final = 1
SUFFIXES: Final = ("", "-wal", "-shm", "-journal", "-lock", "-new", "-new-journal", "-new-wal", "-new-shm")
BUSY_MS: Final = 5000  # another program may be writing, but no server of Realmkeep: the lock excludes it

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


def storage_error_for(path: Path, error: apsw.Error) -> StorageError:
    """Return the error for an exception of SQLite; the store was not changed."""
    kind, hint = _MEANINGS.get(type(error), (StorageUnavailable, "see the cause"))
    return _caused(kind(f"{path}: {error}", hint=hint), error)


def storage_error_for_commit(path: Path, error: apsw.Error) -> StorageError:
    """As `storage_error_for`, for a COMMIT.

    After an I/O error the write-ahead log may hold the whole transaction. It is rolled back, and the next commit overwrites
    it, but a crash before that would bring it back.
    """
    if isinstance(error, apsw.IOError):
        unknown = OutcomeUnknown(f"{path}: {error} while committing", hint="read a guarded key, then write again")
        return _caused(unknown, error)
    return storage_error_for(path, error)


@dataclass(frozen=True)
class SqliteFile:
    """An open file: two connections, and the lock against a second server. It blocks, so keep it off the event loop.

    Attributes:
        path: The real path, without links.
        writer: The connection of the writing thread.
        reader: The connection of the reading thread.
    """

    path: Path
    writer: Connection
    reader: Connection
    _lock: Connection

    @staticmethod
    def open(path: Path) -> "SqliteFile":
        """Open the file at `path`, or make it.

        Raises:
            StorageMisconfigured: The file is foreign, newer, damaged, or cannot be written. It was not changed.
            StorageLocked: Another server has it open.
            StorageUnavailable: It cannot be read, or another program kept it locked.
        """
        with _mapped_errors(path):
            path = real_path(path)  # every link to the file leads to the same lock
            _check_ours(path)
            with ExitStack() as undo:
                lock = undo.enter_context(closing(_lock(path)))
                _check_ours(path)
                _make(path)
                writer = undo.enter_context(closing(_connect(path)))
                _check_whole(path, writer)
                # A process that died before its fsync left writes in the system's memory: a checkpoint syncs them.
                writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
                reader = _connect(path)
                undo.pop_all()
                return SqliteFile(path, writer, reader, lock)

    def close(self) -> None:
        """Fold the log into the file and release the lock."""
        self.reader.close()
        self.writer.close()
        self._lock.close()


class SqliteState(NamedTuple):
    """The state of a file.

    Attributes:
        path: Its real path.
        journal_mode: SQLite's name for the way in which it commits: `wal`, or another if another program changed it.
        synchronous: SQLite's number for the fsyncs of a connection as the store makes it; 2 is FULL.
        damage: The first damage found; empty if there is none.
        files_bytes: The size of the file and its log.
    """

    path: Path
    journal_mode: str
    synchronous: int
    damage: str
    files_bytes: int


def look_at(path: Path) -> SqliteState:
    """Return the state of a file, also while a server has it open; nothing is changed. Blocks while it reads all of it.

    Raises:
        StorageUnavailable: There is no file, it cannot be read, or another program kept it locked.
        StorageMisconfigured: The file is foreign or newer, or this user may not read it.
    """
    with _mapped_errors(path):
        path = real_path(path)
        if not path.exists() or path.stat().st_size == 0:
            raise StorageUnavailable(f"there is no store in {path} yet", hint="the server makes it when it starts")
        _check_ours(path)
        size = sum(side.stat().st_size for side in (path, Path(f"{path}-wal")) if side.exists())
        with closing(_open(str(path), apsw.SQLITE_OPEN_READONLY)) as file:
            file.set_busy_timeout(BUSY_MS)
            _sync_fully(file)
            try:
                damage = _damage_in(file)
            except apsw.CorruptError as error:
                damage = str(error)
            mode, synchronous = (file.execute(f"PRAGMA {name}").get for name in ("journal_mode", "synchronous"))
            return SqliteState(path, str(mode), int(str(synchronous)), damage, size)


@contextmanager
def _mapped_errors(path: Path) -> Generator[None]:
    """Raise the `StorageError` for each exception of SQLite, of the system, and for a path that is refused."""
    try:
        yield
    except FileRefused as error:
        raise StorageMisconfigured(error.message, hint=error.hint or "give another path") from error
    except apsw.Error as error:
        raise storage_error_for(path, error) from error
    except OSError as error:
        raise StorageMisconfigured(
            f"{path}: {error.strerror}", hint="its directory must exist, and this user must be able to write there"
        ) from error


def _check_ours(path: Path) -> None:
    """Check the header without locks and side files, so that a foreign file is not changed."""
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
    """Hold an exclusive lock on a file beside the store until closed; the system releases it when the process dies.

    SQLite's own exclusive mode would also exclude this store's reading connection. A SQLite lock on a separate file works
    on every system that SQLite supports.
    """
    with ExitStack() as undo:
        _touch(Path(f"{path}-lock"))
        beside = undo.enter_context(closing(_open(f"{path}-lock", apsw.SQLITE_OPEN_READWRITE)))
        try:
            beside.execute("PRAGMA journal_mode = MEMORY").fetchall()  # avoids a journal file
            beside.execute("BEGIN EXCLUSIVE")
        except apsw.BusyError as error:
            raise StorageLocked(
                f"another server has {path} open",
                hint="stop it, or give another path; servers that share a store need a Valkey or Redis (redis://)",
            ) from error
        undo.pop_all()
        return beside


def _make(path: Path) -> None:
    """Make the file under another name and rename it, so that a file under this name is always complete."""
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
    """Make a file for its owner alone; SQLite's own would be readable for all, and side files copy the mode."""
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
    _sync_fully(connection)


def _sync_fully(connection: Connection) -> None:
    # FULL: fsync before each commit returns. The other two are for macOS, where fsync alone is not enough.
    for setting in ("synchronous = FULL", "fullfsync = ON", "checkpoint_fullfsync = ON"):
        connection.execute(f"PRAGMA {setting}").fetchall()


def _check_whole(path: Path, connection: Connection) -> None:
    if found := _damage_in(connection):
        raise StorageMisconfigured(f"{path} is damaged: {found}", hint="keep a copy of it and restore a backup")


def _damage_in(connection: Connection) -> str:
    found = str(connection.execute("PRAGMA quick_check(1)").get)
    return "" if found == "ok" else found


def _open(name: str, flags: int) -> Connection:
    try:
        encoded = os.fsencode(name).decode()
    except UnicodeDecodeError as error:
        raise StorageMisconfigured(
            f"the path {name!a} is not UTF-8, and SQLite accepts only that", hint="rename it"
        ) from error
    return apsw.Connection(encoded, flags=flags | apsw.SQLITE_OPEN_NOFOLLOW)


def _caused(error: T, cause: BaseException) -> T:
    error.__cause__ = cause
    return error
