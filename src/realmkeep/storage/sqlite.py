"""`sqlite:///file`: one file for one server; for development, and for realms that need no second server."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import SplitResult, unquote_to_bytes

import apsw

from realmkeep.clock import Clock, SystemClock
from realmkeep.errors import ConfigError, StorageError, StorageUnavailable
from realmkeep.storage.limits import (
    check_increment,
    check_key,
    check_keys,
    check_range,
    check_transactions,
    check_value,
)
from realmkeep.storage.patterns import compile_pattern, is_orphan, literal_prefix
from realmkeep.storage.protocol import AnyTransaction, Capability, Failed, Put, Transaction, Unknown, WriteOutcome
from realmkeep.storage.sqlite_contents import SqliteContents
from realmkeep.storage.sqlite_file import SqliteFile
from realmkeep.storage.sqlite_threads import SqliteThread, run_each_in_its_own, run_in_one_transaction
from realmkeep.storage.transact import add, apply

CAPABILITY: Final = Capability(
    backend="sqlite",
    engine=f"sqlite {apsw.sqlite_lib_version()}",
    durable_on_return=True,
    survives_power_loss=True,
    loss_window_s=0.0,
    shared=False,
    fsync="full",
)
PAGE_KEYS: Final = 1000  # read in one transaction; a long one would delay checkpoints of the write-ahead log

T = TypeVar("T")


class _OpenFile:
    """An open file with its two threads, from `connect` to `disconnect`."""

    def __init__(self, file: SqliteFile, clock: Clock) -> None:
        self._file = file
        self.contents = SqliteContents(file.writer, clock)
        self.snapshot = SqliteContents(file.reader, clock)
        self._writer = SqliteThread("realmkeep-sqlite-writer", partial(run_in_one_transaction, file, self.contents))
        self._reader = SqliteThread("realmkeep-sqlite-reader", partial(run_each_in_its_own, file))
        self.write = self._writer.call
        self.read = self._reader.call

    def start(self) -> None:
        self._writer.start()
        self._reader.start()

    def close(self) -> None:
        self._writer.stop()
        self._reader.stop()
        self._file.close()


class SqliteStorage:
    """A `Storage` in one SQLite file, which a second server cannot open meanwhile.

    One thread makes all writes, in the order of the calls; calls that gather while it waits for the disk share the next
    fsync. Reads have a thread and a connection of their own and do not wait for writes.

    Args:
        path: The file; made at the first `connect` if absent.
        clock: The clock; expiries use its wall time.
    """

    def __init__(self, path: str | Path, *, clock: Clock | None = None) -> None:
        self._path = Path(path)
        self._clock = clock or SystemClock()
        self._session: _OpenFile | None = None
        self._changing = asyncio.Lock()  # opening and closing exclude each other

    @property
    def path(self) -> Path:
        """The file, as it was named."""
        return self._path

    def __repr__(self) -> str:
        return f"<SqliteStorage {str(self._path)!r} {'connected' if self._session else 'not connected'}>"

    @property
    def capability(self) -> Capability:
        """A committed write has been fsynced."""
        self._connected()
        return CAPABILITY

    async def run_id(self) -> str:
        """Return an empty name: a crash of this store loses nothing."""
        self._connected()
        return ""

    async def connect(self) -> None:
        """Open the file, or make it, and check that it is undamaged."""
        await asyncio.shield(asyncio.create_task(self._open()))

    async def disconnect(self) -> None:
        """Write all accepted calls, fold the log into the file, and close it."""
        await asyncio.shield(asyncio.create_task(self._close()))

    async def write(self, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
        """Apply transactions in order."""
        check_transactions(transactions)
        batch = tuple(transactions)  # the caller may change its list before the thread runs
        try:
            session = self._connected()
            return await session.write(lambda: [apply(session.contents, transaction) for transaction in batch])
        except StorageError as error:
            outcome = Unknown(error) if error.outcome == "unknown" else Failed(error)
            return [outcome for _ in batch]

    async def load(self, key: str) -> bytes | None:
        """Return the value at `key`; None if the key is absent."""
        check_key(key)
        return await self._read(lambda snapshot: snapshot.value(key))

    async def load_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values at `keys`, all read at one moment."""
        check_keys(keys)
        wanted = tuple(keys)
        return await self._read(lambda snapshot: [snapshot.value(key) for key in wanted])

    async def load_list(self, key: str, *, start: int = 0, count: int | None = None) -> list[bytes]:
        """Return the entries of the list at `key`."""
        check_range(key, start, count)
        return await self._read(lambda snapshot: snapshot.entries(key, start=start, count=count))

    async def expiries(self, keys: Sequence[str]) -> list[float | None]:
        """Return the seconds after which each of `keys` vanishes."""
        check_keys(keys)
        wanted = tuple(keys)
        return await self._read(lambda snapshot: [snapshot.expiry(key) for key in wanted])

    async def exists(self, key: str) -> bool:
        """Whether `key` holds a value or a list."""
        check_key(key)
        return await self._read(lambda snapshot: snapshot.exists(key))

    async def keys(self, pattern: str = "*") -> AsyncIterator[str]:
        """Iterate over the keys that match, sorted."""
        matches = compile_pattern(pattern).fullmatch
        prefix = literal_prefix(pattern)
        from_key: str | None = prefix
        while from_key is not None:
            page, from_key = await self._read(partial(_page, from_key, PAGE_KEYS))
            for key in page:
                if not key.startswith(prefix):
                    return
                if matches(key):
                    yield key

    async def increment(self, key: str, by: int = 1) -> int:
        """Add `by` to the number at `key`."""
        check_increment(key, by)
        return await self._change(lambda contents: add(contents, key, by))

    async def flush(self) -> None:
        """Return when all earlier calls are committed."""
        await self._change(lambda _: None)

    async def snapshot(self) -> None:
        """Do no more than `flush`: the file with its log is a snapshot already."""
        await self.flush()

    async def save(self, key: str, value: bytes) -> None:
        """Replace `key`; SQLite replaces a row wholly or not at all, so nothing is staged."""
        check_key(key)
        check_value(key, value)
        outcome = await self._change(lambda contents: apply(contents, Transaction((), (Put(key, value),))))
        if isinstance(outcome, Failed):
            raise outcome.error

    async def delete(self, key: str) -> bool:
        """Remove `key`."""
        check_key(key)
        return await self._change(lambda contents: contents.remove(key))

    async def sweep_temp(self, *, older_than_s: float = 3600.0) -> int:
        """Delete orphaned staged values; only stores imported from elsewhere have any."""
        now_us = self._clock.wall_us()
        orphans = [key async for key in self.keys("temp:*") if is_orphan(key, now_us=now_us, older_than_s=older_than_s)]
        return sum(await self._change(lambda contents: [contents.remove(key) for key in orphans]))

    async def _open(self) -> None:
        async with self._changing:
            if self._session is None:
                session = _OpenFile(await asyncio.to_thread(SqliteFile.open, self._path), self._clock)
                await asyncio.to_thread(session.start)
                self._session = session

    async def _close(self) -> None:
        async with self._changing:
            session, self._session = self._session, None
            if session is not None:
                await asyncio.to_thread(session.close)

    async def _read(self, do: Callable[[SqliteContents], T]) -> T:
        session = self._connected()
        return await session.read(lambda: do(session.snapshot))

    async def _change(self, do: Callable[[SqliteContents], T]) -> T:
        session = self._connected()
        return await session.write(lambda: do(session.contents))

    def _connected(self) -> _OpenFile:
        if self._session is None:
            raise StorageUnavailable(f"{self._path} is not open", hint="await storage.connect() first")
        return self._session


def _page(from_key: str, count: int, snapshot: SqliteContents) -> tuple[list[str], str | None]:
    return snapshot.page_of_keys(from_key, count)


def open_url(url: SplitResult, clock: Clock) -> SqliteStorage:
    """Open a `sqlite:///relative.db` or `sqlite:////absolute.db` URL (`sqlite:///C:/realm.db` on Windows).

    Raises:
        ConfigError: The path is missing, or the URL has another part.
    """
    return SqliteStorage(path_of(url), clock=clock)


def path_of(url: SplitResult) -> str:
    """Return the path of a `sqlite://` URL.

    Raises:
        ConfigError: The path is missing, or the URL has another part.
    """
    path = os.fsdecode(unquote_to_bytes(url.path.removeprefix("/")))  # a file name may have no valid encoding
    if url.netloc or url.query or url.fragment or not path or path == ":memory:" or "\0" in path:
        raise ConfigError(
            "a sqlite URL is a path and nothing else",
            hint="sqlite:///relative.db or sqlite:////absolute.db ('?' and '#' in a name as %3F and %23); memory://",
        )
    return path
