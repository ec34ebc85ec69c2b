"""Looks at a Postgres beside the servers that use it, and changes nothing."""

from typing import NamedTuple

import psycopg

from realmkeep.clock import Clock
from realmkeep.errors import StorageError
from realmkeep.storage.postgres.address import PostgresAddress
from realmkeep.storage.postgres.connection import open_connection, storage_error
from realmkeep.storage.postgres.dialects import POSTGRESQL
from realmkeep.storage.postgres.server import ServerFacts, check_server, exposures, read_facts
from realmkeep.storage.store_fault import StoreFault


class PostgresState(NamedTuple):
    """The state of a store.

    Attributes:
        facts: The server's settings.
        engine: Its name and version.
        exposures: The ways in which others can reach it.
        is_unlogged: A crash of the server empties its tables.
    """

    facts: ServerFacts
    engine: str
    exposures: tuple[StoreFault, ...]
    is_unlogged: bool


async def look_at(address: PostgresAddress, clock: Clock) -> PostgresState:
    """Return the state of the store at an address; no table is made.

    Raises:
        StorageUnavailable: It does not answer, or is a standby.
        StorageMisconfigured: It refuses this user, is too old, or cannot keep the promises of the protocol.
        StorageError: It answered with another error.
    """
    connection = None
    try:
        connection = await open_connection(address, clock)
        await connection.run_script("session")
        facts = await read_facts(connection)
        check_server(facts, str(address))
        is_unlogged = connection.dialect is POSTGRESQL and (await connection.ask_named("tables"))["unlogged"]
        engine = f"{connection.dialect.name} {facts.version}"
        return PostgresState(facts, engine, tuple(exposures(connection, address)), bool(is_unlogged))
    except (psycopg.Error, OSError, TimeoutError, StorageError) as error:
        raise storage_error(error, address, sent=False) from error
    finally:
        if connection is not None:
            await connection.close()
