"""One connection to a Postgres: statements by their names, each within a limit of time."""

import asyncio
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import psycopg
from psycopg import AsyncClientCursor, AsyncConnection, pq
from psycopg.conninfo import make_conninfo

from realmkeep.clock import Clock
from realmkeep.errors import StorageError
from realmkeep.storage.postgres import arrays
from realmkeep.storage.postgres.address import PostgresAddress
from realmkeep.storage.postgres.dialects import POSTGRESQL, Dialect, dialect_of
from realmkeep.storage.postgres.errors import translate

IDENTIFY: Final = b"SELECT version(), to_regclass('sys.jobs') IS NOT NULL"
BEGIN: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ"
PREPARE_AFTER: Final = 2  # uses of a statement; then the server parses and plans it no more

Row: TypeAlias = tuple[Any, ...]  # each caller knows the columns of its statement
Statement: TypeAlias = tuple[str, Sequence[object]]  # its name, its parameters


class PostgresConnection:
    """A connection in autocommit mode. One task at a time uses it.

    A statement without an answer after `timeout_s` ends the connection: the server may still execute it.

    Args:
        driver: The driver's connection.
        dialect: Its database's dialect.
        address: The store's address.
        clock: The clock.

    Attributes:
        dialect: Its database's dialect.
        is_late: A statement had no answer in time.
    """

    def __init__(
        self, driver: AsyncConnection[Row], dialect: Dialect, *, address: PostgresAddress, clock: Clock
    ) -> None:
        self._driver = driver
        self._address = address
        self._clock = clock
        self._on_end: Callable[[], None] | None = None
        self.is_late = False
        self.dialect = dialect

    @property
    def is_over(self) -> bool:
        """Whether the connection has ended."""
        return self._driver.closed

    @property
    def pgconn(self) -> pq.abc.PGconn:
        """The connection of libpq, for its facts."""
        return self._driver.pgconn

    async def ask(self, name: str, *parameters: object) -> list[Row]:
        """Execute one statement in a transaction of its own; return its rows.

        Raises:
            psycopg.Error: The server refused it, or the connection ended.
        """
        return await self._timed(self._ask(self.dialect.statement(name), parameters))

    async def ask_named(self, name: str) -> dict[str, Any]:
        """Execute one statement; return its one row by the names of its columns.

        Raises:
            psycopg.Error: The server refused it, or the connection ended.
        """
        cursor = await self._timed(self._driver.execute(self.dialect.statement(name).encode()))
        row = await cursor.fetchone()
        return dict(zip((column.name for column in cursor.description or ()), row or (), strict=True))

    async def identify(self) -> None:
        """Ask for the database's kind, and take on its dialect.

        Raises:
            psycopg.Error: The connection ended.
            StorageMisconfigured: It is no database that Realmkeep knows.
        """
        cursor = await self._timed(self._driver.execute(IDENTIFY))
        version, is_dsql = await cursor.fetchone() or ("", False)
        self.dialect = dialect_of(version, is_dsql=is_dsql)
        await asyncio.to_thread(self.dialect.texts)

    async def run_script(self, name: str) -> None:
        """Execute each statement of a script on its own.

        Raises:
            psycopg.Error: The server refused one, or the connection ended.
        """
        for text in self.dialect.statements(name):
            await self._timed(self._driver.execute(text.encode()))

    async def begin(self, *statements: Statement) -> list[list[Row]]:
        """Begin a transaction and execute statements in it, in one round trip; return the rows of each.

        One simple query carries them. A pipeline would end with a Flush, which stops the server's clock for
        `idle_in_transaction_session_timeout`: the locks of a process that stands still here would be kept.

        Raises:
            psycopg.Error: The server refused it, or the connection ended. The transaction must be rolled back.
        """
        return await self._timed(self._begin(statements))

    async def commit(self, *statements: Statement) -> None:
        """Execute statements and commit the transaction, in one round trip.

        Raises:
            psycopg.Error: The server refused it, or the connection ended. The transaction must be rolled back.
        """
        await self._timed(self._commit(statements))

    async def roll_back(self) -> None:
        """End a transaction, if there is one, and undo it.

        Raises:
            psycopg.Error: The connection ended.
        """
        if self._driver.pgconn.transaction_status != pq.TransactionStatus.IDLE:
            await self._timed(self._driver.execute(b"ROLLBACK"))

    def sever(self) -> None:
        """End the connection at once, from this side; a statement under way ends with an error."""
        if not self._driver.closed:
            with socket.socket(fileno=os.dup(self._driver.fileno())) as channel:
                channel.shutdown(socket.SHUT_RDWR)

    def listen(self, on_end: Callable[[], None]) -> None:
        """Call `on_end` once if the server ends the connection while it is idle."""
        self._on_end = on_end
        self._watch()

    async def close(self) -> None:
        """Close the connection."""
        self._on_end = None
        self._stop_watching()
        await self._driver.close()

    async def _timed(self, work: Any) -> Any:
        self._stop_watching()
        timer = self._clock.call_later(self._address.timeout_s, self._give_up)
        try:
            return await work
        except psycopg.Error as error:
            if self.is_late:
                raise psycopg.OperationalError(f"no answer for {self._address.timeout_s} s") from error
            raise
        finally:
            timer.cancel()
            self._watch()

    def _give_up(self) -> None:
        self.is_late = True
        self.sever()

    async def _ask(self, text: str, parameters: Sequence[object]) -> list[Row]:
        cursor = await self._driver.execute(text.encode(), parameters, binary=True)
        return await cursor.fetchall() if cursor.description else []

    async def _begin(self, statements: Sequence[Statement]) -> list[list[Row]]:
        cursor = AsyncClientCursor(self._driver)
        texts = [BEGIN, *(self.dialect.statement(name) for name, _ in statements)]
        await cursor.execute(";".join(texts).encode(), [each for _, given in statements for each in given])
        found: list[list[Row]] = []
        while cursor.nextset():
            found.append(await cursor.fetchall() if cursor.description else [])
        return found

    async def _commit(self, statements: Sequence[Statement]) -> None:
        """Send statements at once. They are not prepared: an error would skip the preparation of those behind it."""
        failure: psycopg.Error | None = None
        try:
            async with self._driver.pipeline():
                try:
                    for name, parameters in statements:
                        text = self.dialect.statement(name).encode()
                        await self._driver.execute(text, parameters, prepare=False, binary=True)
                    await self._driver.execute(b"COMMIT", prepare=False)
                except psycopg.Error as error:  # of an earlier statement; those behind it say no more than "aborted"
                    failure = error
        except psycopg.Error as error:
            raise failure or error from None
        if failure:
            raise failure

    def _watch(self) -> None:
        if self._on_end is not None and not self._driver.closed:
            asyncio.get_running_loop().add_reader(self._driver.fileno(), self._read_while_idle)

    def _stop_watching(self) -> None:
        if self._on_end is not None and not self._driver.closed:
            asyncio.get_running_loop().remove_reader(self._driver.fileno())

    def _read_while_idle(self) -> None:
        """The server has said something without being asked: a notice, or its end."""
        descriptor = self._driver.fileno()
        try:
            self._driver.pgconn.consume_input()
        except psycopg.OperationalError:
            asyncio.get_running_loop().remove_reader(descriptor)
            if on_end := self._on_end:
                on_end()


async def open_connection(
    address: PostgresAddress, clock: Clock, *, dialect: Dialect | None = None
) -> PostgresConnection:
    """Connect; the new connection has the server's own settings.

    Args:
        address: The store's address.
        clock: The clock.
        dialect: The dialect of the database, if it is known; otherwise the server is asked.

    Raises:
        psycopg.Error: There is no connection.
        TimeoutError: There is none within the limit.
        StorageMisconfigured: The file of the password cannot be used, or the database is none that Realmkeep knows.
    """
    secret = await asyncio.to_thread(address.read_password)
    async with clock.timeout(address.connect_timeout_s):
        driver: AsyncConnection[Row] = await AsyncConnection.connect(
            make_conninfo(**address.parameters, **secret), autocommit=True, prepare_threshold=PREPARE_AFTER
        )
    arrays.register(driver.adapters)
    connection = PostgresConnection(driver, dialect or POSTGRESQL, address=address, clock=clock)
    if dialect is None:
        try:
            await connection.identify()
        except BaseException:
            await connection.close()
            raise
    return connection


def storage_error(error: BaseException, address: PostgresAddress, *, sent: bool) -> StorageError:
    """Return a driver's exception as a `StorageError` without secrets, for `raise`; its cause is set. See `errors.translate`."""
    if isinstance(error, StorageError):
        return error
    if address.is_secret_in(str(error)):
        error = psycopg.OperationalError("the answer repeats a secret and is not shown")
    made = translate(error, str(address), sent=sent)
    made.__cause__ = error
    return made
