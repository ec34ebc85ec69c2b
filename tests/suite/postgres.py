"""One Postgres server for all tests of a process, with a schema for each test."""

import secrets
from collections.abc import Iterator

import pytest

from realmkeep.testing.postgres_server import PostgresServer
from suite.engines import POSTGRESQL_15

SETTINGS = {"deadlock_timeout": "20ms"}  # a deadlock is found at once


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The server of the wheel. Tests that kill or reconfigure a server start their own."""
    with PostgresServer(settings=SETTINGS) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_15() -> Iterator[PostgresServer]:
    """Debian's server; its tests are marked with `needs("postgresql-15")`."""
    with PostgresServer(programs=POSTGRESQL_15, settings=SETTINGS) as server:
        yield server


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """A database without tables."""
    schema = f"test_{secrets.token_hex(6)}"
    yield postgres.new_schema(schema)
    postgres.ask(f"DROP SCHEMA {schema} CASCADE")
