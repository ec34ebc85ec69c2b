"""`postgresql://`: a database that exists already: PostgreSQL 15 or later, or distributed SQL with its protocol."""

from urllib.parse import SplitResult

from realmkeep.clock import Clock
from realmkeep.storage.postgres.address import parse_postgres_url
from realmkeep.storage.postgres.storage import PostgresStorage

__all__ = ["PostgresStorage", "open_url"]


def open_url(url: SplitResult, clock: Clock) -> PostgresStorage:
    """Open a `postgresql://` URL.

    Raises:
        ConfigError: A part of the URL is missing, malformed or unknown.
    """
    return PostgresStorage(parse_postgres_url(url), clock=clock)
