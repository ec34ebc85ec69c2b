"""Maps Postgres's SQLSTATEs and the driver's exceptions to Realmkeep's errors: one table.

The codes are those of the appendix "PostgreSQL Error Codes". CockroachDB, YugabyteDB and Aurora DSQL document the same ones for
conflicts (40001) and for an ambiguous result (40003); they were not run.
"""

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

import psycopg
from psycopg import errors as sqlstates

from realmkeep.errors import OutcomeUnknown, StorageError, StorageFull, StorageMisconfigured, StorageUnavailable

WORDS_MAX: Final = 200  # characters of a server's message, in ours

CONFLICTS: Final = frozenset(
    {"40001", "40P01"}
)  # serialization failure, deadlock: nothing happened, so repeat the whole chunk


class Meaning(NamedTuple):
    """The meaning of an error: the server executed nothing of the statement."""

    error: type[StorageError]
    what: str
    hint: str


_WAIT: Final = "try again; the store has not changed"
_PERMISSIONS: Final = (
    "GRANT SELECT, INSERT, UPDATE, DELETE ON realmkeep_entry, realmkeep_list, realmkeep_run TO the user"
)
_POOLER: Final = (
    "let the pooler support prepared statements (PgBouncer 1.21: max_prepared_statements), or connect directly"
)
_LOGIN: Final = "check the user and the password of the URL, and pg_hba.conf"

# Errors of a statement after which the connection goes on; the server has rolled the statement back.
ROLLED_BACK: Final[Mapping[str, Meaning]] = {
    "40001": Meaning(StorageUnavailable, "had too many conflicts with other writers", _WAIT),
    "40P01": Meaning(StorageUnavailable, "had too many deadlocks with other writers", _WAIT),
    "25006": Meaning(
        StorageUnavailable, "is read-only, a standby perhaps", "it recovers when the failover is complete"
    ),
    "53100": Meaning(StorageFull, "has no room left on its disk", "free disk space; its log says more"),
    "53200": Meaning(StorageFull, "has no memory left", "its log says more"),
    "53300": Meaning(StorageUnavailable, "has no connection left (max_connections)", "raise it, or use a pooler"),
    "55P03": Meaning(StorageUnavailable, "waited longer for a lock than its lock_timeout", _WAIT),
    "57014": Meaning(StorageUnavailable, "cancelled the statement (statement_timeout, or an operator)", _WAIT),
    "42501": Meaning(StorageMisconfigured, "forbids this user a table", _PERMISSIONS),
    "42P01": Meaning(StorageMisconfigured, "has lost its tables", "restore them from a backup"),
    "42703": Meaning(
        StorageMisconfigured, "has a table of this name that is not Realmkeep's", "use a schema of its own"
    ),
    "26000": Meaning(StorageMisconfigured, "has lost a prepared statement: a pooler is in between", _POOLER),
    "42P05": Meaning(
        StorageMisconfigured, "has a prepared statement of another client: a pooler is in between", _POOLER
    ),
}

# The words in which the client library tells why there is no connection; it tells no SQLSTATE.
_CONNECTING: Final[tuple[tuple[str, Meaning], ...]] = (
    ("password authentication failed", Meaning(StorageMisconfigured, "refuses the user name or the password", _LOGIN)),
    ("no password supplied", Meaning(StorageMisconfigured, "asks for a password", _LOGIN)),
    ("authentication failed", Meaning(StorageMisconfigured, "refuses the user", _LOGIN)),
    ("no pg_hba.conf entry", Meaning(StorageMisconfigured, "lets no such client in", "add a line to its pg_hba.conf")),
    ("is not permitted to log in", Meaning(StorageMisconfigured, "refuses the user", "ALTER ROLE name LOGIN")),
    ("permission denied for database", Meaning(StorageMisconfigured, "refuses the user", "GRANT CONNECT ON DATABASE")),
    ("definition of service", Meaning(StorageMisconfigured, "is a service that is not defined", "see PGSERVICEFILE")),
    ("does not support SSL", Meaning(StorageMisconfigured, "does not speak TLS", "ssl = on in postgresql.conf")),
    (
        "root certificate file",
        Meaning(StorageMisconfigured, "cannot be verified", "name its authority with sslrootcert=FILE, or system"),
    ),
    (
        "certificate verify failed",
        Meaning(
            StorageMisconfigured, "shows a certificate that is refused", "name its authority with sslrootcert=FILE"
        ),
    ),
    (
        "server certificate for",
        Meaning(
            StorageMisconfigured, "shows a certificate for another name", "name it in the URL as its certificate does"
        ),
    ),
    (
        "private key file",
        Meaning(StorageMisconfigured, "cannot be shown the client's certificate", "chmod 600 its key"),
    ),
    (
        "certificate",
        Meaning(StorageMisconfigured, "does not agree on certificates", "see sslcert, sslkey and sslrootcert"),
    ),
    ("too many", Meaning(StorageUnavailable, "has no connection left", "raise max_connections, or use a pooler")),
    ("session is read-only", Meaning(StorageUnavailable, "is a standby", "name its primary")),
)
_MISSING: Final[tuple[tuple[re.Pattern[str], Meaning], ...]] = (
    (
        re.compile(r'database "[^"]*" does not exist'),
        Meaning(
            StorageMisconfigured, "has no such database", "CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0"
        ),
    ),
    (
        re.compile(r'role "[^"]*" does not exist'),
        Meaning(StorageMisconfigured, "refuses the user", "CREATE ROLE name LOGIN"),
    ),
)
_STARTING: Final = ("starting up", "not yet accepting connections", "in recovery mode")


def may_serve_soon(error: BaseException | None) -> bool:
    """Whether the next attempt to connect may succeed: the server starts, or another one makes the tables in this moment."""
    is_starting = isinstance(error, psycopg.OperationalError) and any(words in str(error) for words in _STARTING)
    return is_starting or (error is not None and is_conflict(error))


def is_conflict(error: BaseException) -> bool:
    """Whether nothing happened because another writer came first: the whole chunk may be sent again."""
    return isinstance(error, psycopg.Error) and error.sqlstate in CONFLICTS


def ends_the_connection(error: BaseException) -> bool:
    """Whether the server ended the connection with this error. The error may have come after a commit."""
    return isinstance(error, psycopg.Error) and error.diag.severity_nonlocalized in {"FATAL", "PANIC"}


def translate(error: BaseException, store: str, *, sent: bool) -> StorageError:
    """Return the `StorageError` for a driver's exception.

    Args:
        error: The driver's exception.
        store: The address, without secrets.
        sent: A statement that changes data may have reached the server.
    """
    state = error.sqlstate if isinstance(error, psycopg.Error) else None
    meaning = ROLLED_BACK.get(state or "")
    if meaning and not (sent and ends_the_connection(error)):
        return meaning.error(f"the store {store} {meaning.what}: {_words(error)}", hint=meaning.hint)
    if sent:
        return OutcomeUnknown(
            f"the store {store} did not answer plainly: {_words(error)}",
            hint="it happened wholly or not at all; read a guarded key before trying again",
        )
    if state is None and (meaning := _meaning_of_words(str(error))):
        return meaning.error(f"the store {store} {meaning.what}: {_words(error)}", hint=meaning.hint)
    return StorageUnavailable(
        f"the store {store} cannot be reached: {_words(error)}",
        hint="check that it runs and that store.url names it; a running server tries again by itself",
    )


def tables_exist(error: psycopg.Error) -> bool:
    """Whether another server has made the same table in this moment."""
    return isinstance(error, (sqlstates.UniqueViolation, sqlstates.DuplicateTable, sqlstates.DuplicateObject))


def _meaning_of_words(said: str) -> Meaning | None:
    for words, meaning in _CONNECTING:
        if words in said:
            return meaning
    return next((meaning for pattern, meaning in _MISSING if pattern.search(said)), None)


def _words(error: BaseException) -> str:
    """Return the server's words, printable, in one line and bounded."""
    said = str(error).strip() or type(error).__name__
    return "".join(character if character.isprintable() else " " for character in said)[:WORDS_MAX].rstrip(". ")
