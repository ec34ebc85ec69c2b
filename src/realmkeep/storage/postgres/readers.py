"""A few connections for reads, each used by one call at a time."""

import asyncio
from typing import Final

import psycopg

from realmkeep.clock import Clock
from realmkeep.errors import StorageUnavailable
from realmkeep.storage.postgres.address import PostgresAddress
from realmkeep.storage.postgres.connection import PostgresConnection, Row, open_connection, storage_error
from realmkeep.storage.postgres.dialects import Dialect

READERS_MAX: Final = 4  # logins and operators' reads; each is a process of the server


class ReaderPool:
    """Connections made on demand. A read under way goes on when its caller is cancelled: no connection is left half-read.

    Args:
        address: The store's address.
        dialect: Its dialect.
        clock: The clock.
    """

    def __init__(self, address: PostgresAddress, dialect: Dialect, clock: Clock) -> None:
        self._address = address
        self._dialect = dialect
        self._clock = clock
        self._free = asyncio.Semaphore(READERS_MAX)
        self._idle: list[PostgresConnection] = []
        self._reads: set[asyncio.Task[list[Row]]] = set()
        self._is_closing = False

    async def ask(self, name: str, *parameters: object) -> list[Row]:
        """Execute a statement that changes nothing; return its rows.

        Raises:
            StorageError: The store cannot be reached, or refuses.
        """
        limit_s = self._address.timeout_s
        try:
            async with self._clock.timeout(limit_s):
                await self._free.acquire()
        except TimeoutError:
            raise StorageUnavailable(
                f"the store {self._address} has not answered {READERS_MAX} other reads for {limit_s} s",
                hint="try again; the store has not changed",
            ) from None
        read = asyncio.create_task(self._ask(name, parameters))
        self._reads.add(read)
        read.add_done_callback(self._has_ended)
        return await asyncio.shield(read)

    async def close_idle(self) -> None:
        """Close the connections that no call uses."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.close()

    async def close(self) -> None:
        """Wait for the reads under way, and close every connection."""
        self._is_closing = True
        try:
            while self._reads:
                await asyncio.wait(self._reads)
        finally:  # the wait may be cancelled, because a silent server answers no read
            await self.close_idle()

    async def _ask(self, name: str, parameters: tuple[object, ...]) -> list[Row]:
        while True:
            used = self._idle.pop() if self._idle else None
            connection = used or await self._open()
            try:
                rows = await connection.ask(name, *parameters)
            except psycopg.Error as error:
                await connection.close()
                if used is None or connection.is_late:
                    raise storage_error(error, self._address, sent=False) from error
                continue  # it may have ended while it was idle: read again on another one
            except BaseException:
                await connection.close()
                raise
            if self._is_closing:
                await connection.close()
            else:
                self._idle.append(connection)
            return rows

    async def _open(self) -> PostgresConnection:
        try:
            connection = await open_connection(self._address, self._clock, dialect=self._dialect)
        except (psycopg.Error, OSError, TimeoutError) as error:
            raise storage_error(error, self._address, sent=False) from error
        try:
            ((is_standby,),) = await connection.ask("role")
        except psycopg.Error as error:
            await connection.close()
            raise storage_error(error, self._address, sent=False) from error
        except BaseException:  # a cancellation: the event loop ends
            await connection.close()
            raise
        if is_standby:  # it would answer with older data
            await connection.close()
            raise StorageUnavailable(f"the store {self._address} is a standby", hint="name its primary")
        return connection

    def _has_ended(self, read: asyncio.Task[list[Row]]) -> None:
        self._reads.discard(read)
        self._free.release()
        if not read.cancelled():
            read.exception()  # the caller has it, unless it is gone
