"""The parts of the Postgres backend that need no server."""

import random
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from realmkeep.errors import ConfigError, OutcomeUnknown, StorageError, StorageMisconfigured, StorageUnavailable
from realmkeep.storage import Append, Delete, DropFirst, Effect, Extend, Guard, Present, Put, Transaction, open_storage
from realmkeep.storage.memory import MemoryStore
from realmkeep.storage.postgres.address import parse_postgres_url
from realmkeep.storage.postgres.connection import storage_error
from realmkeep.storage.postgres.dialects import (
    AURORA_DSQL,
    COCKROACHDB,
    DIALECTS,
    POSTGRESQL,
    YUGABYTEDB,
    Dialect,
    dialect_of,
)
from realmkeep.storage.postgres.errors import CONFLICTS, ROLLED_BACK, translate
from realmkeep.storage.postgres.folding import TOMBSTONE_US, NetChunk, fold
from realmkeep.storage.postgres.rows import LockedRows, StoredRow
from realmkeep.storage.protocol import COMMITTED
from realmkeep.storage.transact import apply
from realmkeep.testing.clock import FakeClock

SECRET = "gr4vel&tide"
STORE = "postgresql://db/realm"


def error_of(state: str) -> psycopg.Error:
    return psycopg.errors.lookup(state)("words")


# The address.


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ada:gr4vel%26tide@db/realm", "postgresql://db/realm"),
        ("postgresql://ada@db:5433/realm?sslmode=verify-full&sslrootcert=system", "postgresql://db:5433/realm"),
        ("postgresql://ada@[::1]:5433/realm", "postgresql://[::1]:5433/realm"),
        (
            "postgresql://one:5432,two:5432/realm?target_session_attrs=read-write",
            "postgresql://one,two:5432,5432/realm",
        ),
        ("postgresql:///realm?host=%2Frun%2Fpostgresql", "postgresql:///realm?host=/run/postgresql"),
        ("postgresql://?service=realm", "postgresql://?service=realm"),
    ],
)
def test_an_address_shows_where_the_store_is_and_no_secret(url: str, shown: str) -> None:
    address = parse_postgres_url(urlsplit(url))
    assert str(address) == shown
    assert SECRET not in repr(address)


def test_what_libpq_knows_is_handed_on_and_the_rest_has_defaults() -> None:
    address = parse_postgres_url(urlsplit("postgresql://db/realm?sslmode=require&options=-csearch_path%3Drealm%20x"))
    assert address.parameters["sslmode"] == "require"
    assert address.parameters["options"] == "-csearch_path=realm x"
    assert (address.connect_timeout_s, address.timeout_s) == (5.0, 10.0)


def test_the_environment_of_psql_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "7")
    assert parse_postgres_url(urlsplit("postgresql://db/realm")).connect_timeout_s == 7.0


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://ada:gr4vel%26tide@db:port/realm", "malformed"),
        ("postgresql://ada:gr4vel%26tide@[db/realm", "malformed"),
        ("postgresql://ada:gr4vel%26tide@db/realm?sslmod=require", "unknown option 'sslmod'"),
        ("postgresql://ada:gr4vel%26tide@db/realm?password_file=/x", "both a password and a password_file"),
        ("postgresql://db/realm?timeout_s=0", "timeout_s='0' is out of range"),
        ("postgresql://db/realm?timeout_s=soon", "timeout_s='soon' is out of range"),
        ("postgresql://db/realm?connect_timeout=0", "connect_timeout"),
        ("postgresql://db/realm?connect_timeout=1.5", "connect_timeout"),
        ("postgresql://db/realm?sslmode=require&sslmode=disable", "twice"),
    ],
)
def test_a_malformed_url_is_refused_without_repeating_its_secrets(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_storage(url)
    assert said in str(caught.value)
    assert "gr4vel" not in f"{caught.value} {caught.value.__cause__}"


def test_a_password_file_is_read_at_each_connection(tmp_path: Path) -> None:
    file = tmp_path / "password"
    address = parse_postgres_url(urlsplit(f"postgresql://ada@db/realm?password_file={file}"))
    with pytest.raises(StorageMisconfigured, match="cannot be read"):
        address.read_password()
    for secret in ("first", "second"):
        file.write_text(f"{secret}\n")
        file.chmod(0o600)
        assert address.read_password() == {"password": secret}
    file.chmod(0o644)
    with pytest.raises(StorageMisconfigured):
        address.read_password()


# Errors.


@pytest.mark.parametrize(
    "state", ["08000", "08006", "57P01", "57P02", "57P03", "40003", "25P03", "58030", "XX000", "23505"]
)
def test_whatever_ends_a_connection_or_is_unforeseen_leaves_a_change_unknown(state: str) -> None:
    assert translate(error_of(state), STORE, sent=True).outcome == "unknown"


def test_a_broken_connection_leaves_a_change_unknown_and_a_read_unavailable() -> None:
    broken = psycopg.OperationalError("server closed the connection unexpectedly")
    assert isinstance(translate(broken, STORE, sent=True), OutcomeUnknown)
    assert type(translate(broken, STORE, sent=False)) is StorageUnavailable


@pytest.mark.parametrize("state", sorted(ROLLED_BACK))
def test_what_the_server_rolled_back_did_not_happen(state: str) -> None:
    error = translate(error_of(state), STORE, sent=True)
    assert error.outcome == "not_applied"
    assert error.hint


def test_conflicts_are_those_after_which_nothing_happened() -> None:
    assert ROLLED_BACK.keys() > CONFLICTS
    assert all(translate(error_of(state), STORE, sent=True).retryable for state in CONFLICTS)


@pytest.mark.parametrize(
    ("words", "kind", "hint"),
    [
        ('FATAL:  password authentication failed for user "ada"', StorageMisconfigured, "pg_hba.conf"),
        ("fe_sendauth: no password supplied", StorageMisconfigured, "password"),
        ('FATAL:  database "realm" does not exist', StorageMisconfigured, "CREATE DATABASE"),
        ('FATAL:  role "ada" does not exist', StorageMisconfigured, "CREATE ROLE"),
        ('FATAL:  no pg_hba.conf entry for host "10.0.0.7"', StorageMisconfigured, "pg_hba.conf"),
        ('definition of service "realm" not found', StorageMisconfigured, "PGSERVICEFILE"),
        ("server does not support SSL, but SSL was required", StorageMisconfigured, "ssl = on"),
        ("SSL error: certificate verify failed", StorageMisconfigured, "sslrootcert"),
        ('root certificate file "/x" does not exist', StorageMisconfigured, "sslrootcert"),
        ('server certificate for "a" does not match host name "b"', StorageMisconfigured, "as its certificate does"),
        ('private key file "/k" has group or world access', StorageMisconfigured, "chmod 600"),
        ("FATAL:  sorry, too many clients already", StorageUnavailable, "pooler"),
        ("session is read-only", StorageUnavailable, "primary"),
        ("Connection refused", StorageUnavailable, "store.url"),
    ],
)
def test_the_words_of_a_failed_connection_say_what_to_mend(words: str, kind: type[StorageError], hint: str) -> None:
    error = translate(psycopg.OperationalError(f"connection failed: {words}"), STORE, sent=False)
    assert type(error) is kind
    assert hint in error.hint


def test_an_error_that_repeats_a_secret_is_not_shown() -> None:
    address = parse_postgres_url(urlsplit("postgresql://ada:gr4vel%26tide@db/realm"))
    error = storage_error(psycopg.OperationalError(f"bad word {SECRET}"), address, sent=False)
    assert SECRET not in f"{error} {error.__cause__}"


# Dialects.


@pytest.mark.parametrize(
    ("version", "is_dsql", "dialect"),
    [
        ("PostgreSQL 18.6 on x86_64-pc-linux-gnu, compiled by gcc", False, POSTGRESQL),
        ("CockroachDB CCL v25.2.1 (x86_64-pc-linux-gnu, built 2025/06/16)", False, COCKROACHDB),
        ("PostgreSQL 15.12-YB-2025.1.0.0-b0 on x86_64-pc-linux-gnu", False, YUGABYTEDB),
        ("PostgreSQL 16", True, AURORA_DSQL),
    ],
)
def test_a_database_is_known_by_its_version(version: str, is_dsql: bool, dialect: Dialect) -> None:
    assert dialect_of(version, is_dsql=is_dsql) is dialect


@pytest.mark.parametrize("version", ["", "PostgreSQL 8.0.2 on i686, Redshift 1.0.12103", "MySQL 8"])
def test_another_database_is_refused(version: str) -> None:
    with pytest.raises(StorageMisconfigured, match="no database that Realmkeep knows"):
        dialect_of(version, is_dsql=False)


@pytest.mark.parametrize("dialect", DIALECTS, ids=[dialect.name for dialect in DIALECTS])
def test_a_dialect_has_every_statement_with_the_same_parameters(dialect: Dialect) -> None:
    texts, reference = dialect.texts(), POSTGRESQL.texts()
    assert texts.keys() == reference.keys()
    for name in reference:
        assert texts[name].count("%b") == reference[name].count("%b"), name
        assert "--" not in texts[name], name
    assert dialect.was_run == (dialect is POSTGRESQL)


# The fast path.

TRANSFER = Transaction((Guard("a", b"1"), Guard("new", None)), (Put("a", b"2"), Append("inbox", b"x")))


def test_a_chunk_compares_each_key_once_and_changes_it_once() -> None:
    effects = (Put("a", b"3", 1.5), Append("inbox", b"y"), Delete("c"), Extend("a", b"+"), Extend("d", b"1"))
    later = Transaction((Guard("a", b"2"), Guard("b", b"1")), (*effects, Extend("d", b"2")))
    assert fold([TRANSFER, later]) == NetChunk(
        expected={"a": b"1", "new": None, "b": b"1"},
        changed={"a": (b"3+", 1_500_000), "c": (None, TOMBSTONE_US), "new": (None, TOMBSTONE_US)},
        extended={"d": b"12"},
        appended={"inbox": [b"x", b"y"]},
    )


@pytest.mark.parametrize(
    "second",
    [
        Transaction((Guard("a", b"1"),), ()),  # it was changed
        Transaction((Guard("b", b"1"), Guard("b", b"2")), ()),
        Transaction((Guard("inbox", None),), ()),
        Transaction((), (Put("inbox", b"x"),)),
        Transaction((), (Delete("inbox"),)),
        Transaction((), (Append("a", b"x"),)),
        Transaction((), (Append("new", b"x"),)),
        Transaction((), (DropFirst("other", 1),)),
        Transaction((Guard("b", b"1"),), (Extend("b", b"x"),)),
        Transaction((), (Extend("inbox", b"x"),)),
        Transaction((), (Extend("b", b"x"), Append("b", b"x"))),
        Transaction((), (), (Present("a"),)),
    ],
)
def test_a_chunk_that_depends_on_the_store_is_not_folded(second: Transaction) -> None:
    assert fold([TRANSFER, second]) is None


def random_transaction(rng: random.Random) -> Transaction:
    values = [None, b"1", b"2"]
    guards = [Guard(rng.choice("abc"), rng.choice(values)) for _ in range(rng.randint(0, 2))]
    effects: list[Effect] = [
        rng.choice([Put(key, b"1"), Put(key, b"2"), Delete(key), Append(key, b"x"), Extend(key, b"+")])
        for key in rng.choices("abc", k=rng.randint(0, 2))
    ]
    return Transaction(guards, effects)


def test_what_is_folded_is_what_happens_one_by_one() -> None:
    """If the net guards hold, and no key has the wrong type, every transaction commits, and leaves the net changes."""
    rng = random.Random(7)
    held = 0
    for _ in range(20_000):
        chunk = [random_transaction(rng) for _ in range(rng.randint(1, 3))]
        net = fold(chunk)
        if net is None:
            continue
        store = MemoryStore(FakeClock())
        for key, value in net.expected.items():
            if value is not None:
                store.perform(Put(key, value))
        assert [apply(store, each) for each in chunk] == [COMMITTED] * len(chunk)
        held += 1
        for key, (value, _) in net.changed.items():
            assert store.value(key) == value
        for key, addition in net.extended.items():
            assert store.value(key) == addition
        for key, entries in net.appended.items():
            assert store.entries(key) == entries
    assert held > 2_000


# The slow path.


def rows_of(*stored: StoredRow, are_locked: bool = True) -> LockedRows:
    return LockedRows(["a", "b", "list"], stored, 1_000, are_locked=are_locked)


def test_the_absence_of_a_key_is_written_so_that_two_who_see_it_collide() -> None:
    rows = rows_of(("a", b"1", 0, 0, None))
    assert [key for key, _ in rows.changed()] == ["b", "list"]
    assert all(row.value is None and row.expires_us == 1_000 + TOMBSTONE_US for _, row in rows.changed())


def test_without_locks_each_row_is_written() -> None:
    rows = rows_of(("a", b"1", 0, 0, 5_000), are_locked=False)
    assert next((key, row.expires_us) for key, row in rows.changed()) == ("a", 5_000)


def test_the_positions_of_a_list_only_rise() -> None:
    rows = rows_of(("list", None, 3, 5, None))
    apply(rows, Transaction((), (Append("list", b"x"), DropFirst("list", 3), Append("list", b"y"))))
    assert [*rows.added()] == [("list", 6, b"y")]
    assert rows.dropped() == [("list", 6)]
    assert rows.remove("list")
    apply(rows, Transaction((), (Put("list", b"v"),)))
    assert [*rows.added()] == []
    assert rows.dropped() == [("list", 7)]
