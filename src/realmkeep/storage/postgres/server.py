"""The server at the other end: its promises, and the reasons not to use it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from realmkeep.errors import StorageMisconfigured, StorageUnavailable
from realmkeep.storage.postgres.address import PostgresAddress
from realmkeep.storage.postgres.connection import PostgresConnection
from realmkeep.storage.postgres.dialects import POSTGRESQL
from realmkeep.storage.protocol import Capability
from realmkeep.storage.store_fault import StoreFault

VERSION_MIN: Final = 150_000  # PostgreSQL 15: the oldest that the tests run
LAYOUT: Final = 1  # of the tables
WAL_WRITER_ROUNDS: Final = 3  # an asynchronous commit is on disk after at most three rounds (PostgreSQL 18, 28.4)
LOSS_WINDOW_S_MAX: Final = 3.0  # a keeper looks back so far for lost writes; a longer window promises nothing
ISOLATED: Final = frozenset({"repeatable read", "serializable"})


@dataclass(frozen=True)
class ServerFacts:
    """The facts of `server.sql`, about one server and one session.

    Attributes:
        version_number: Such as 180006; 0 if the database is no PostgreSQL.
        version: Its version, in words.
        is_standby: It replays another server's log.
        is_read_only: It accepts no writes.
        isolation: The level of a transaction that does not name one.
        encoding: The encoding of the database.
        synchronous_commit: A commit waits for the disk unless it is `off`.
        syncs: The server calls fsync.
        writes_full_pages: A page that a power failure tore is restored.
        wal_writer_delay_s: The pause between two writes of asynchronous commits.
        synchronous_standbys: The standbys for which a commit waits; empty for none.
        standbys: The number of standbys that are connected.
        role: The user.
    """

    version_number: int
    version: str
    is_standby: bool
    is_read_only: bool
    isolation: str
    encoding: str
    synchronous_commit: str
    syncs: bool
    writes_full_pages: bool
    wal_writer_delay_s: float
    synchronous_standbys: str
    standbys: int
    role: str


async def read_facts(connection: PostgresConnection) -> ServerFacts:
    """Ask the server for its facts.

    Raises:
        psycopg.Error: The connection ended.
    """
    return ServerFacts(**await connection.ask_named("server"))


def check_server(facts: ServerFacts, store: str) -> None:
    """Return if the server can keep the promises of the protocol.

    Raises:
        StorageMisconfigured: It cannot; the hint is the line that mends it.
        StorageUnavailable: It is a standby.
    """
    if facts.version_number and facts.version_number < VERSION_MIN:
        raise StorageMisconfigured(
            f"the store {store} is PostgreSQL {facts.version}, which is too old",
            hint="PostgreSQL 15 or later is needed",
        )
    if facts.is_standby:
        raise StorageUnavailable(
            f"the store {store} is a standby",
            hint="name its primary, or all hosts and target_session_attrs=read-write",
        )
    if facts.is_read_only:
        raise StorageMisconfigured(
            f"the store {store} is read-only for the user {facts.role}",
            hint=f"ALTER ROLE {facts.role} SET default_transaction_read_only = off",
        )
    if facts.encoding.upper().replace("-", "") != "UTF8":
        raise StorageMisconfigured(
            f"the database of the store {store} has the encoding {facts.encoding}",
            hint="CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0",
        )
    if facts.isolation not in ISOLATED:
        raise not_isolated(store, facts.isolation, facts.role)


def not_isolated(store: str, isolation: str, role: str) -> StorageMisconfigured:
    """Make the error for a session whose transactions would overlook each other."""
    return StorageMisconfigured(
        f"the store {store} runs our statements as {isolation.upper()}: two servers could both create one player; "
        "a pooler in between drops the settings of a session",
        hint=f"ALTER ROLE {role} SET default_transaction_isolation = 'repeatable read', or pool_mode = session",
    )


async def check_tables(connection: PostgresConnection, store: str) -> None:
    """Return if the tables keep what is written into them.

    Raises:
        StorageMisconfigured: They are unlogged, distributed, or of a newer release.
        psycopg.Error: The connection ended.
    """
    if connection.dialect is POSTGRESQL:
        facts = await connection.ask_named("tables")
        if facts["unlogged"]:
            raise StorageMisconfigured(
                f"the tables of the store {store} are unlogged: a crash of the server empties them",
                hint="ALTER TABLE realmkeep_entry SET LOGGED; ALTER TABLE realmkeep_list SET LOGGED",
            )
        if facts["has_citus"] and (distributed := await connection.ask("distributed")):
            table = distributed[0][0]
            raise StorageMisconfigured(
                f"Citus distributes the table {table} of the store {store}: a transaction would not see it at one moment",
                hint=f"SELECT undistribute_table('{table}')",
            )
    rows = await connection.ask("version")
    if not rows:
        await connection.ask("set_version", b"%d" % LAYOUT)
    elif rows[0][0] != b"%d" % LAYOUT:
        raise StorageMisconfigured(
            f"the tables of the store {store} have the version {rows[0][0]!r:.20}; this release knows {LAYOUT}",
            hint="a newer release has written them: update this server",
        )


def capability_of(facts: ServerFacts, *, engine: str, warnings: tuple[str, ...]) -> Capability:
    """Return the promises of the server."""
    waits = facts.synchronous_commit != "off"
    window_s = 0.0 if waits else WAL_WRITER_ROUNDS * facts.wal_writer_delay_s
    return Capability(
        backend="postgresql",
        engine=engine,
        durable_on_return=waits,
        survives_power_loss=waits and facts.syncs and facts.writes_full_pages,
        loss_window_s=window_s if window_s <= LOSS_WINDOW_S_MAX else None,
        shared=True,
        fsync=facts.synchronous_commit if facts.syncs else "off",
        warnings=(*map(_sentence, server_faults(facts)), *warnings),
    )


def server_faults(facts: ServerFacts) -> Iterator[StoreFault]:
    """Yield the settings of the server that weaken its promise."""
    if facts.synchronous_commit == "off":
        window_ms = WAL_WRITER_ROUNDS * facts.wal_writer_delay_s * 1000
        yield StoreFault(
            "asynchronous-commit",
            "synchronous_commit is off",
            f"a crash of the store loses up to {window_ms:.0f} ms of committed writes",
            f"ALTER ROLE {facts.role} SET synchronous_commit = on",
        )
    if not facts.syncs:
        yield StoreFault(
            "fsync-off",
            "fsync is off",
            "a power loss destroys the database",
            "set fsync = on in postgresql.conf",
        )
    if not facts.writes_full_pages:
        yield StoreFault(
            "full-page-writes-off",
            "full_page_writes is off",
            "a power loss may tear pages",
            "set full_page_writes = on in postgresql.conf",
        )
    if facts.standbys and not facts.synchronous_standbys:
        yield StoreFault(
            "asynchronous-standby",
            "no standby is synchronous",
            "a failover loses the last committed writes",
            "set synchronous_standby_names in postgresql.conf",
        )


def exposures(connection: PostgresConnection, address: PostgresAddress) -> Iterator[StoreFault]:
    """Yield the ways in which others can reach the store."""
    pgconn = connection.pgconn
    host = pgconn.host.decode()
    is_socket = host.startswith(("/", "@"))
    is_local = is_socket or host in {"localhost", "::1"} or host.startswith("127.")
    if not is_socket and not pgconn.used_password and "sslcert" not in address.parameters:
        others = "every user of this machine" if is_local else "every host that reaches its port"
        yield StoreFault(
            "no-password",
            "the store asks for no password",
            f"{others} may read and change everything",
            "scram-sha-256 instead of trust in pg_hba.conf",
        )
    if not is_local and not pgconn.ssl_in_use:
        yield StoreFault(
            "not-encrypted",
            "the connection to the store is not encrypted",
            "players and the password can be read on their way",
            "sslmode=verify-full, or a private network",
        )
    elif not is_local and address.parameters.get("sslmode") != "verify-full":
        yield StoreFault(
            "certificate-not-verified",
            "the certificate of the store is not verified",
            "another host can take its place",
            "sslmode=verify-full and sslrootcert=FILE",
        )


def warnings_of(connection: PostgresConnection, address: PostgresAddress) -> tuple[str, ...]:
    """Return a sentence for each way in which others can reach the store."""
    return tuple(map(_sentence, exposures(connection, address)))


def _sentence(fault: StoreFault) -> str:
    return f"{fault}; {fault.mend}"
