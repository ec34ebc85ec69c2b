"""`sqlite:///file`: one file, one server. For development, and for realms that need no second server."""

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
from realmkeep.storage.protocol import Capability, Failed, Put, Transaction, Unknown, WriteOutcome
from realmkeep.storage.sqlite_contents import SqliteContents
from realmkeep.storage.sqlite_file import SqliteFile
from realmkeep.storage.sqlite_threads import SqliteThread, read_each, write_together
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
PAGE_KEYS: Final = 1000  # read in one go: a long read would keep the log from being folded back into the file

T = TypeVar("T")


class _Session:
    """An open file with its two threads, from `connect` to `disconnect`."""

    def __init__(self, file: SqliteFile, clock: Clock) -> None:
        self._file = file
        self.contents = SqliteContents(file.writer, clock)
        self.snapshot = SqliteContents(file.reader, clock)
        self._writer = SqliteThread("realmkeep-sqlite-writer", partial(write_together, file, self.contents))
        self._reader = SqliteThread("realmkeep-sqlite-reader", partial(read_each, file))
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
    """A `Storage` in one SQLite file, which no second server can open meanwhile.

    Everything that writes goes through one thread, in the order of the calls; what gathers while it waits for the disk
    shares the next fsync. Reads have a thread and a connection of their own and wait for no write.

    Args:
        path: The file; made at the first `connect` if absent.
        clock: Its wall time decides what has expired.
    """

    def __init__(self, path: str | Path, *, clock: Clock | None = None) -> None:
        self._path = Path(path)
        self._clock = clock or SystemClock()
        self._session: _Session | None = None
        self._changing = asyncio.Lock()  # opening and closing take turns

    def __repr__(self) -> str:
        return f"<SqliteStorage {str(self._path)!r} {'connected' if self._session else 'not connected'}>"

    @property
    def capability(self) -> Capability:
        """Everything is fsynced before it is reported as committed."""
        self._connected()
        return CAPABILITY

    async def run_id(self) -> str:
        """None: it is this process, and loses nothing."""
        self._connected()
        return ""

    async def connect(self) -> None:
        """Open the file, or make it; checks that it is whole."""
        await asyncio.shield(asyncio.create_task(self._open()))

    async def disconnect(self) -> None:
        """Write what was accepted, fold the log into the file, and close it."""
        await asyncio.shield(asyncio.create_task(self._close()))

    async def write(self, transactions: Sequence[Transaction]) -> list[WriteOutcome]:
        """Apply transactions in order."""
        check_transactions(transactions)
        batch = tuple(transactions)  # the caller's list may change before the thread comes to it
        try:
            session = self._connected()
            return await session.write(lambda: [apply(session.contents, transaction) for transaction in batch])
        except StorageError as error:
            outcome = Unknown(error) if error.outcome == "unknown" else Failed(error)
            return [outcome for _ in batch]

    async def load(self, key: str) -> bytes | None:
        """The value at `key`; None if nothing lies there."""
        check_key(key)
        return await self._read(lambda snapshot: snapshot.value(key))

    async def load_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values at `keys`, all read at one moment."""
        check_keys(keys)
        wanted = tuple(keys)
        return await self._read(lambda snapshot: [snapshot.value(key) for key in wanted])

    async def load_list(self, key: str, *, start: int = 0, count: int | None = None) -> list[bytes]:
        """The entries of the list at `key`."""
        check_range(key, start, count)
        return await self._read(lambda snapshot: snapshot.entries(key, start=start, count=count))

    async def exists(self, key: str) -> bool:
        """Whether anything lies at `key`."""
        check_key(key)
        return await self._read(lambda snapshot: snapshot.exists(key))

    async def keys(self, pattern: str = "*") -> AsyncIterator[str]:
        """The keys that match, sorted."""
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
        """Return when what was accepted before is committed."""
        await self._change(lambda _: None)

    async def snapshot(self) -> None:
        """Nothing of its own: the file with its log is one, and closing folds the log in."""
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
        """Delete orphans of staging, which only stores that were imported here have."""
        now_us = self._clock.wall_us()
        orphans = [key async for key in self.keys("temp:*") if is_orphan(key, now_us=now_us, older_than_s=older_than_s)]
        return sum(await self._change(lambda contents: [contents.remove(key) for key in orphans]))

    async def _open(self) -> None:
        async with self._changing:
            if self._session is None:
                session = _Session(await asyncio.to_thread(SqliteFile.open, self._path), self._clock)
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

    def _connected(self) -> _Session:
        if self._session is None:
            raise StorageUnavailable(f"{self._path} is not open", hint="await storage.connect() first")
        return self._session


def _page(from_key: str, count: int, snapshot: SqliteContents) -> tuple[list[str], str | None]:
    return snapshot.page_of_keys(from_key, count)


def open_url(url: SplitResult, clock: Clock) -> SqliteStorage:
    """The store of `sqlite:///relative.db` or `sqlite:////absolute.db` (`sqlite:///C:/realm.db` on Windows).

    Raises:
        ConfigError: There is no path, or something that is none of its business.
    """
    path = os.fsdecode(unquote_to_bytes(url.path.removeprefix("/")))  # a name may be in no encoding at all
    if url.netloc or url.query or url.fragment or not path or path == ":memory:" or "\0" in path:
        raise ConfigError(
            "a sqlite URL is a path and nothing else",
            hint="sqlite:///relative.db or sqlite:////absolute.db ('?' and '#' in a name as %3F and %23); memory://",
        )
    return SqliteStorage(path, clock=clock)
