"""The contents of a store at one moment, read past every line of keeping and of storage."""

import asyncio
import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from realmkeep.clock import SystemClock
from realmkeep.storage import open_storage

READ_S_MAX: Final = 30.0
COMPANIONS: Final = ("", ":updated", ":owner", ":ops", ":version")


@dataclass(frozen=True)
class Keys:
    """The keys to read: those with values, and those with lists."""

    values: Sequence[str]
    lists: Sequence[str]


def keys_of(kind: str, numbers: int) -> Keys:
    """Return the keys of the records `kind:0` to `kind:numbers-1`."""
    values = [f"{kind}:{number}{part}" for number in range(numbers) for part in COMPANIONS]
    return Keys(values, [f"{kind}:{number}:{which}" for number in range(numbers) for which in ("inbox", "kept")])


class NotReadable(Exception):
    """A store does not answer at this moment; it is asked again."""


class Snapshot:
    """Values and lists by key."""

    def __init__(self, values: dict[str, bytes | None], lists: dict[str, list[bytes]]) -> None:
        self._values = values
        self._lists = lists

    def value(self, key: str) -> bytes | None:
        """Return the value of a key that was read; None if it is absent."""
        return self._values[key]

    def entries(self, key: str) -> list[bytes]:
        """Return the entries of a list that was read; none if it is absent."""
        return self._lists[key]

    def texts(self) -> dict[str, list[str]]:
        """Return everything that is present, as text for a report."""
        values = {key: [value] for key, value in self._values.items() if value is not None}
        present = {**values, **{key: entries for key, entries in self._lists.items() if entries}}
        return {key: [each.decode(errors="backslashreplace") for each in found] for key, found in present.items()}


def read_redis(keys: Keys, **connection: Any) -> Snapshot:
    """Read a Valkey or Redis in one transaction; the arguments are those of `redis.Redis`. Blocks.

    Raises:
        NotReadable: It does not answer now.
    """
    import redis  # noqa: PLC0415 - an extra
    from redis.exceptions import ConnectionError as RedisConnectionError  # noqa: PLC0415 - as above

    client = cast("Any", redis.Redis(socket_timeout=READ_S_MAX, **connection))  # the driver's types are partial
    try:
        with client, client.pipeline(transaction=True) as pipe:
            pipe.mget(keys.values)
            for key in keys.lists:
                pipe.lrange(key, 0, -1)
            values, *lists = pipe.execute()
    except RedisConnectionError as error:  # it is just starting, or loading
        raise NotReadable from error
    return Snapshot(dict(zip(keys.values, values, strict=True)), dict(zip(keys.lists, lists, strict=True)))


def read_sqlite(keys: Keys, file: Path) -> Snapshot:
    """Read a copy of a SQLite file and its log: its server must stand still or be dead. Blocks."""
    with tempfile.TemporaryDirectory(prefix="rk-") as private:
        for path in file.parent.glob(f"{file.name}*"):
            if not path.name.endswith(("-lock", "-shm")):
                shutil.copy(path, private)
        copy = Path(private) / file.name
        with closing(sqlite3.connect(copy)) as connection:
            tables = connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'entry'").fetchone()
            if not copy.stat().st_size or not tables[0]:
                return Snapshot(dict.fromkeys(keys.values), {key: [] for key in keys.lists})
            rows = connection.execute("SELECT key, value FROM entry").fetchall()
            lists = connection.execute("SELECT key, value FROM list_entry ORDER BY key, position").fetchall()
    return _picked(keys, rows, lists)


def read_postgres(keys: Keys, url: str) -> Snapshot:
    """Read a Postgres in one transaction. Blocks.

    Raises:
        NotReadable: It does not answer now.
    """
    import psycopg  # noqa: PLC0415 - an extra

    try:
        with psycopg.connect(url) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            query = "SELECT key, value FROM realmkeep_entry WHERE key = ANY (%s)"
            rows = connection.execute(query, [list(keys.values)]).fetchall()
            query = "SELECT key, value FROM realmkeep_list WHERE key = ANY (%s) ORDER BY key, position"
            lists = connection.execute(query, [list(keys.lists)]).fetchall()
    except (
        psycopg.OperationalError
    ) as error:  # it recovers, or has too many connections that it has not noticed to be dead
        raise NotReadable from error
    return _picked(keys, rows, lists)


def read_storage(keys: Keys, url: str) -> Snapshot:
    """Read any store by its URL: again and again, until no value has changed meanwhile. Blocks.

    Raises:
        StorageError: It does not answer.
        TimeoutError: Its values change all the time.
    """
    with ThreadPoolExecutor(1) as thread:  # the caller's event loop is running
        return thread.submit(asyncio.run, _read_storage(keys, url)).result()


def delete_keys(keys: Keys, url: str) -> None:
    """Delete some keys of any store. Blocks.

    Raises:
        StorageError: It does not answer.
    """
    with ThreadPoolExecutor(1) as thread:  # as above
        thread.submit(asyncio.run, _delete_keys(keys, url)).result()


async def _delete_keys(keys: Keys, url: str) -> None:
    storage = open_storage(url)
    await storage.connect()
    try:
        for key in (*keys.values, *keys.lists):
            await storage.delete(key)
    finally:
        await storage.disconnect()


async def _read_storage(keys: Keys, url: str) -> Snapshot:
    storage = open_storage(url)
    await storage.connect()
    try:
        async with SystemClock().timeout(READ_S_MAX):
            while True:
                values = await storage.load_many(keys.values)
                lists = {key: await storage.load_list(key) for key in keys.lists}
                if await storage.load_many(keys.values) == values:
                    return Snapshot(dict(zip(keys.values, values, strict=True)), lists)
    finally:
        await storage.disconnect()


def _picked(keys: Keys, rows: list[tuple[Any, ...]], entries: list[tuple[Any, ...]]) -> Snapshot:
    found = dict(rows)
    lists: dict[str, list[bytes]] = {key: [] for key in keys.lists}
    for key, entry in entries:
        if key in lists:
            lists[key].append(entry)
    return Snapshot({key: found.get(key) for key in keys.values}, lists)
