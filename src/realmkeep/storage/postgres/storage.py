"""`PostgresStorage`: a `Storage` on one database."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final, TypeVar

import psycopg

from realmkeep.clock import Clock, SystemClock
from realmkeep.errors import StorageError, StorageMisconfigured, StorageUnavailable
from realmkeep.storage.limits import (
    check_increment,
    check_key,
    check_keys,
    check_range,
    check_transactions,
    check_value,
)
from realmkeep.storage.patterns import compile_pattern, is_orphan, literal_prefix
from realmkeep.storage.postgres.address import PostgresAddress
from realmkeep.storage.postgres.arrays import texts
from realmkeep.storage.postgres.connection import PostgresConnection, open_connection, storage_error
from realmkeep.storage.postgres.errors import may_serve_soon, tables_exist
from realmkeep.storage.postgres.readers import ReaderPool
from realmkeep.storage.postgres.rows import LockedRows
from realmkeep.storage.postgres.server import (
    ServerFacts,
    capability_of,
    check_server,
    check_tables,
    read_facts,
    warnings_of,
)
from realmkeep.storage.postgres.writer import PostgresWriter, WriterStatistics
from realmkeep.storage.protocol import AnyTransaction, Capability, Failed, Put, Transaction, WriteOutcome
from realmkeep.storage.transact import add, apply, wrong_type

log = logging.getLogger(__name__)

LOAD_KEYS_MAX: Final = 1000  # read at one moment
PAGE_KEYS: Final = 1000
START_MAX: Final = 1 << 62  # of a list read; positions are far below it
BACKOFF_S_MIN: Final = 0.05
BACKOFF_S_MAX: Final = 5.0  # a store that is up again is used within this time

T = TypeVar("T")


class PostgresStorage:
    """A `Storage` in two tables of one database.

    `write` and the other changes share one connection (`PostgresWriter`), reads have a few of their own. A chunk of writes is
    one statement, in a transaction of its own under REPEATABLE READ; a conflict with another server repeats the whole chunk.

    Args:
        address: The database's address.
        clock: The clock; by default the machine's. Expiries use the database's.
        rng: The jitter of pauses, so that a hundred servers do not reconnect in one instant.
    """

    def __init__(
        self, address: PostgresAddress, *, clock: Clock | None = None, rng: random.Random | None = None
    ) -> None:
        self._address = address
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()  # noqa: S311 - spreads load, guards nothing
        self._writer: PostgresWriter | None = None
        self._readers: ReaderPool | None = None
        self._facts: ServerFacts | None = None
        self._engine = ""
        self._warnings: tuple[str, ...] = ()
        self._names_runs = False
        self._reconnecting: asyncio.Task[None] | None = None
        self._opening: PostgresConnection | None = None
        self._down: StorageError = self._not_connected()

    def __repr__(self) -> str:
        return f"<PostgresStorage {self._address} {'connected' if self._writer else 'not connected'}>"

    @property
    def capability(self) -> Capability:
        """The server's promises, as its last answer told them."""
        if not self._facts:
            raise self._not_connected()
        return capability_of(self._facts, engine=self._engine, warnings=self._warnings)

    @property
    def statistics(self) -> WriterStatistics:
        """The chunks since the connection was made.

        Raises:
            StorageUnavailable: Not connected.
        """
        return self._connected()[0].statistics

    async def run_id(self) -> str:
        """Ask the server; the name changes with each start, crash and failover."""
        _, readers = self._connected()
        if not self._names_runs:
            return ""
        rows = await readers.ask("run")
        return rows[0][0] if rows else ""

    async def connect(self) -> None:
        """Connect, wait while the server starts (within `connect_timeout`), check its promises, make the tables if absent."""
        if self._writer or self._reconnecting:
            return
        deadline_s = self._clock.monotonic_s() + self._address.connect_timeout_s
        while True:
            try:
                await self._open()
            except StorageUnavailable as error:
                if not may_serve_soon(error.__cause__) or self._clock.monotonic_s() >= deadline_s:
                    raise
                await self._clock.sleep(BACKOFF_S_MIN)
            else:
                return

    async def disconnect(self) -> None:
        """Wait until all accepted calls are answered, then close."""
        reconnecting, self._reconnecting = self._reconnecting, None
        if reconnecting:
            if self._opening:  # a cancellation would wait until the server has heard of it
                self._opening.sever()
            else:
                reconnecting.cancel()
            await asyncio.gather(reconnecting, return_exceptions=True)
        writer, self._writer = self._writer, None
        readers, self._readers = self._readers, None
        self._down, self._facts = self._not_connected(), None
        try:
            if writer:
                try:
                    await writer.drain()
                finally:  # the wait may be cancelled, because the server is silent
                    await writer.close()
        finally:
            if readers:
                await readers.close()

    async def write(self, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
        """Apply transactions in order."""
        if not self._writer:
            check_transactions(transactions)
            return [Failed(self._down) for _ in transactions]
        return await self._writer.write(transactions)

    async def load(self, key: str) -> bytes | None:
        """Return the value at `key`; None if the key is absent."""
        check_key(key)
        return (await self.load_many([key]))[0]

    async def load_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values at `keys`, up to 1,000 in one statement."""
        check_keys(keys)
        _, readers = self._connected()
        found: dict[str, bytes | None] = {}
        for start in range(0, len(keys), LOAD_KEYS_MAX):
            some = dict.fromkeys(keys[start : start + LOAD_KEYS_MAX])
            for key, value, is_list in await readers.ask("load", texts([*some])):
                if is_list:
                    raise wrong_type(key, holds="a list", wanted="a value")
                found[key] = value
        return [found.get(key) for key in keys]

    async def load_list(self, key: str, *, start: int = 0, count: int | None = None) -> list[bytes]:
        """Return the entries of the list at `key`."""
        check_range(key, start, count)
        _, readers = self._connected()
        limit = None if count is None else min(count, START_MAX)
        rows = await readers.ask("load_list", min(start, START_MAX), limit, key)
        if rows and rows[0][0]:
            raise wrong_type(key, holds="a value", wanted="a list")
        return [entry for _, entry in rows if entry is not None]

    async def expiries(self, keys: Sequence[str]) -> list[float | None]:
        """Return the seconds after which each of `keys` vanishes."""
        check_keys(keys)
        _, readers = self._connected()
        left: dict[str, float] = {}
        for start in range(0, len(keys), LOAD_KEYS_MAX):
            rows = await readers.ask("expiries", texts([*dict.fromkeys(keys[start : start + LOAD_KEYS_MAX])]))
            left |= {key: left_us / 1_000_000 for key, left_us in rows}
        return [left.get(key) for key in keys]

    async def exists(self, key: str) -> bool:
        """Whether `key` holds a value or a list."""
        check_key(key)
        _, readers = self._connected()
        return bool(await readers.ask("load", texts([key])))

    async def keys(self, pattern: str = "*") -> AsyncIterator[str]:
        """Iterate over the keys that match, sorted by their bytes."""
        matches = compile_pattern(pattern).fullmatch
        prefix = literal_prefix(pattern)
        from_key = prefix
        while True:
            _, readers = self._connected()
            page = await readers.ask("page_of_keys", from_key, PAGE_KEYS)
            for key, is_there in page:
                if not key.startswith(prefix):
                    return
                if is_there and matches(key):
                    yield key
            if len(page) < PAGE_KEYS:
                return
            from_key = f"{page[-1][0]}\x01"  # no key lies between: NUL is in none

    async def increment(self, key: str, by: int = 1) -> int:
        """Add `by` to the number at `key`."""
        check_increment(key, by)
        return await self._change(lambda rows: add(rows, key, by), key)

    async def flush(self) -> None:
        """Return when all earlier calls are answered and on disk, and read the server's promises again."""
        writer, _ = self._connected()
        self._facts = await writer.perform(_sync)

    async def snapshot(self) -> None:
        """Do no more than `flush`: a backup of the database is its own affair."""
        await self.flush()

    async def save(self, key: str, value: bytes) -> None:
        """Replace `key`; a row is replaced wholly or not at all, so nothing is staged."""
        check_key(key)
        check_value(key, value)
        outcome = await self._change(lambda rows: apply(rows, Transaction((), (Put(key, value),))), key)
        if isinstance(outcome, Failed):
            raise outcome.error

    async def delete(self, key: str) -> bool:
        """Remove `key`."""
        check_key(key)
        return await self._change(lambda rows: rows.remove(key), key)

    async def sweep_temp(self, *, older_than_s: float = 3600.0) -> int:
        """Delete orphaned staged values; only stores that were copied from elsewhere have any."""
        now_us = self._clock.wall_us()
        orphans = [key async for key in self.keys("temp:*") if is_orphan(key, now_us=now_us, older_than_s=older_than_s)]
        return sum([await self.delete(key) for key in orphans])

    async def _change(self, do: Callable[[LockedRows], T], key: str) -> T:
        writer, _ = self._connected()
        return await writer.change(do, key)

    async def _open(self) -> None:
        connection: PostgresConnection | None = None
        try:
            connection = self._opening = await open_connection(self._address, self._clock)
            facts = await _prepared(connection, str(self._address))
        except (psycopg.Error, OSError, TimeoutError, StorageError) as error:
            if connection:
                await connection.close()
            raise storage_error(error, self._address, sent=False) from error
        except BaseException:
            if connection:
                await connection.close()
            raise
        finally:
            self._opening = None
        name = connection.dialect.name
        self._engine = f"{name} {facts.version}{'' if connection.dialect.was_run else ' (not run by the tests)'}"
        self._names_runs = connection.dialect.has_unlogged_tables
        self._warnings = warnings_of(connection, self._address)
        self._facts = facts
        self._readers = self._readers or ReaderPool(self._address, connection.dialect, self._clock)
        self._writer = PostgresWriter(
            connection,
            address=self._address,
            clock=self._clock,
            rng=self._rng,
            role=facts.role,
            on_broken=self._on_broken,
            on_promise=self._on_promise,
        )

    def _on_promise(self, synchronous_commit: str) -> None:
        if self._facts and self._facts.synchronous_commit != synchronous_commit:
            self._facts = replace(self._facts, synchronous_commit=synchronous_commit)

    def _on_broken(self, reason: StorageError) -> None:
        writer, self._writer, self._down = self._writer, None, reason
        if writer:
            self._reconnecting = asyncio.create_task(self._reconnect(writer))

    async def _reconnect(self, broken: PostgresWriter) -> None:
        with suppress(Exception):  # a broken connection without users may fail to close
            await broken.close()
        if self._readers:
            await self._readers.close_idle()
        backoff_s = BACKOFF_S_MIN
        while self._reconnecting:
            try:
                await self._open()
            except Exception as error:  # noqa: BLE001 - callers get the error, and the next attempt follows
                self._down = self._down_error(error)
                await self._clock.sleep(self._rng.uniform(BACKOFF_S_MIN, backoff_s))
                backoff_s = min(2 * backoff_s, BACKOFF_S_MAX)
            else:
                self._reconnecting = None
                return

    def _down_error(self, error: Exception) -> StorageError:
        """Return the error that callers get until the store is back."""
        if isinstance(error, StorageError):
            return error
        log.error("the store %s cannot be connected again", self._address, exc_info=error)
        return StorageUnavailable(f"the store {self._address} cannot be connected again: {error!r}", hint="report it")

    def _connected(self) -> tuple[PostgresWriter, ReaderPool]:
        if not self._writer or not self._readers:
            raise type(self._down)(self._down.message, hint=self._down.hint) from self._down
        return self._writer, self._readers

    def _not_connected(self) -> StorageUnavailable:
        return StorageUnavailable(f"the store {self._address} is not connected", hint="await storage.connect() first")


async def _prepared(connection: PostgresConnection, store: str) -> ServerFacts:
    """Give a new connection its settings, and check the server and the tables, which are made if absent."""
    await connection.run_script("session")
    facts = await read_facts(connection)
    check_server(facts, store)
    ((exist,),) = await connection.ask("exist")
    if not exist:
        await _make_tables(connection, facts.role, store)
    await check_tables(connection, store)
    if connection.dialect.has_unlogged_tables:
        await connection.ask("name_run")
    return facts


async def _make_tables(connection: PostgresConnection, role: str, store: str) -> None:
    try:
        await connection.run_script("schema")
    except psycopg.errors.InsufficientPrivilege as error:
        raise StorageMisconfigured(
            f"the user {role} of the store {store} may not make the tables",
            hint=f"GRANT CREATE ON SCHEMA public TO {role}, or let another user run `realmkeep store schema`",
        ) from error
    except psycopg.Error as error:
        if not tables_exist(error):
            raise
        await connection.run_script("schema")  # another server has made some of them in this moment


async def _sync(connection: PostgresConnection) -> ServerFacts:
    """Let the disk have every earlier commit; return the server's facts."""
    facts = await read_facts(connection)
    if facts.synchronous_commit == "off":
        await connection.begin(("sync_on", ()))
        await connection.commit(("sync", ()))
    return facts
