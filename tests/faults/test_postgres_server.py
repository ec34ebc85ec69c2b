"""What a Postgres must be, and what it is told when it is not: each refusal has the line that mends it, and that line mends it."""

import asyncio
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from realm.certificates import make
from realmkeep.cli.app import app
from realmkeep.clock import SystemClock
from realmkeep.errors import StorageMisconfigured, StorageUnavailable
from realmkeep.storage import Append, Committed, Failed, Guard, Put, Transaction, open_storage
from realmkeep.storage.postgres import PostgresStorage, dialects, server, writer
from realmkeep.testing.contract import Backend, StorageContract
from realmkeep.testing.postgres_server import USER, PostgresServer
from realmkeep.testing.replicated import free_ports
from suite.engines import POSTGRESQL_15, needed

pytestmark = pytest.mark.backend("postgresql")

CREATE = Transaction((Guard("made", None),), (Put("made", b"1"),))
PASSWORD = "gr4vel&tide"
TEXTS = {dialect.name: dialect.texts() for dialect in dialects.DIALECTS}


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[PostgresStorage]:
    storage = open_storage(url)
    assert isinstance(storage, PostgresStorage)
    await storage.connect()
    try:
        yield storage
    finally:
        await storage.disconnect()


async def refused(url: str, kind: type[Exception] = StorageMisconfigured) -> str:
    """The message and the hint of the refusal."""
    with pytest.raises(kind) as caught:
        async with opened(url):
            pass
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


async def until_connected(storage: PostgresStorage) -> None:
    async with asyncio.timeout(20):
        while "not connected" in repr(storage):
            await asyncio.sleep(0.005)


def as_role(url: str, role: str) -> str:
    return url.replace(f"user={USER}", f"user={role}")


@pytest.fixture
def role(postgres: PostgresServer, postgres_url: str) -> Iterator[str]:
    """A user who may use the schema of the test, and no more."""
    name = f"role_{secrets.token_hex(4)}"
    schema = postgres_url.rpartition("%3D")[2]
    postgres.ask(f"CREATE ROLE {name} LOGIN")
    postgres.ask(f"GRANT USAGE ON SCHEMA {schema} TO {name}")
    yield name
    postgres.ask(f"DROP OWNED BY {name} CASCADE")
    postgres.ask(f"DROP ROLE {name}")


def ask(postgres: PostgresServer, text: str, *parameters: object, schema: str = "public") -> Any:
    return asyncio.to_thread(postgres.ask, text, *parameters, schema=schema)


# The isolation.


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """As behind a pooler that drops the settings of a session."""
    texts = TEXTS["postgresql"] | {"session": ""}

    def without(dialect: dialects.Dialect) -> dict[str, str]:
        return texts

    monkeypatch.setattr(dialects.Dialect, "texts", without)


@pytest.mark.usefixtures("no_settings")
async def test_read_committed_is_refused_and_the_hint_mends_it(postgres: PostgresServer, postgres_url: str) -> None:
    said = await refused(postgres_url)
    assert "READ COMMITTED" in said
    line = f"ALTER ROLE {USER} SET default_transaction_isolation = 'repeatable read'"
    assert line in said
    await ask(postgres, line)
    try:
        async with opened(postgres_url) as storage:
            assert await storage.write([CREATE]) == [Committed()]
    finally:
        await ask(postgres, f"ALTER ROLE {USER} RESET default_transaction_isolation")


async def test_a_session_that_loses_its_isolation_writes_nothing_and_is_replaced(postgres_url: str) -> None:
    async with opened(postgres_url) as storage:
        assert storage._writer
        await storage._writer._connection._driver.execute("SET default_transaction_isolation = 'read committed'")
        (outcome,) = await storage.write([CREATE])
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, StorageMisconfigured)
        assert "pooler" in str(outcome.error)
        await until_connected(storage)
        assert await storage.write([CREATE]) == [Committed()]


async def test_a_session_that_becomes_read_only_is_replaced(postgres_url: str) -> None:
    """As after a failover, when the server that was the primary goes on as a standby."""
    async with opened(postgres_url) as storage:
        assert storage._writer
        await storage._writer._connection._driver.execute("SET default_transaction_read_only = on")
        (outcome,) = await storage.write([CREATE])
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, StorageUnavailable)
        await until_connected(storage)
        assert await storage.write([CREATE]) == [Committed()]


@pytest.mark.needs("pgbouncer")
@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_a_real_pooler_serves_by_session_and_is_noticed_by_transaction(
    postgres: PostgresServer, tmp_path: Path, mode: str
) -> None:
    database = f"pooled_{secrets.token_hex(4)}"
    await ask(postgres, f"CREATE DATABASE {database}")
    with pooler(postgres, database, mode) as url:
        if mode == "session":
            async with opened(url) as storage, opened(url) as other:
                outcomes = await asyncio.gather(storage.write([CREATE]), other.write([CREATE]))
                assert sorted(type(outcome).__name__ for (outcome,) in outcomes) == ["Committed", "Refused"]
        else:
            assert "pooler" in await noticed(url)
    await ask(postgres, f"DROP DATABASE {database} WITH (FORCE)")


async def noticed(url: str) -> str:
    """The refusal of two storages that share the sessions of a pooler, at the latest after some writes."""
    try:
        async with opened(url) as storage, opened(url) as other:
            for number in range(200):
                writes = [Transaction((), (Put(f"key:{number}", b"1"),))]
                for outcome in [*await storage.write(writes), *await other.write(writes)]:
                    if isinstance(outcome, Failed):
                        return str(outcome.error)
    except StorageMisconfigured as error:
        return str(error)
    raise AssertionError("the pooler was not noticed")


class pooler:  # noqa: N801 - used like a function
    """PgBouncer in front of a database."""

    def __init__(self, postgres: PostgresServer, database: str, mode: str) -> None:
        self._directory = Path(subprocess.run(["mktemp", "-d", "/tmp/rk-pool-XXXX"], check=True, capture_output=True).stdout.decode().strip())  # fmt: skip
        port = free_ports(1)
        (self._directory / "users").write_text(f'"{USER}" ""\n')
        (self._directory / "ini").write_text(
            f"[databases]\n{database} = host={postgres.directory} dbname={database}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
            f"auth_file = {self._directory}/users\npool_mode = {mode}\nignore_startup_parameters = extra_float_digits\n"
            f"default_pool_size = 20\nserver_round_robin = 1\n"
        )
        self._directory.chmod(0o755)
        self._url = f"postgresql://{USER}@127.0.0.1:{port}/{database}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> str:
        who: dict[str, Any] = {"user": "nobody", "extra_groups": []} if os.geteuid() == 0 else {}
        command = [needed("pgbouncer"), self._directory / "ini"]
        self._process = subprocess.Popen[bytes](command, stderr=subprocess.DEVNULL, **who)
        clock = SystemClock()
        deadline_s = clock.monotonic_s() + 20
        while clock.monotonic_s() < deadline_s:
            try:
                psycopg.connect(self._url).close()
            except psycopg.OperationalError:
                continue
            break
        return self._url

    def __exit__(self, *_error: object) -> None:
        assert self._process
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._directory)


# The server and its tables.


@pytest.fixture
def standby() -> Iterator[PostgresServer]:
    """A server that waits for the log of a primary."""
    with PostgresServer() as standby:
        standby.kill()
        standby.add_file("standby.signal", "")
        standby.start()
        yield standby


async def test_a_standby_is_refused_and_a_primary_among_the_hosts_is_found(
    postgres: PostgresServer, standby: PostgresServer
) -> None:
    said = await refused(standby.url, StorageUnavailable)
    assert "is a standby" in said
    assert "target_session_attrs=read-write" in said
    hosts = f"{standby.directory},{postgres.directory}"
    url = f"postgresql:///postgres?host={quote(hosts, safe='')}&user={USER}&target_session_attrs=read-write"
    async with opened(url) as storage:
        assert await storage.load("nobody") is None


async def test_an_encoding_other_than_utf8_is_refused_and_the_hint_mends_it(postgres: PostgresServer) -> None:
    names = [f"db_{secrets.token_hex(4)}" for _ in range(2)]
    await ask(postgres, f"CREATE DATABASE {names[0]} ENCODING 'LATIN1' TEMPLATE template0")
    said = await refused(postgres.url.replace("/postgres?", f"/{names[0]}?"))
    assert "LATIN1" in said
    line = "CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0"
    assert line in said
    await ask(postgres, line.replace("name", names[1]))
    async with opened(postgres.url.replace("/postgres?", f"/{names[1]}?")):
        pass
    for name in names:
        await ask(postgres, f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_role_that_may_only_read_is_refused(postgres: PostgresServer, postgres_url: str, role: str) -> None:
    await ask(postgres, f"ALTER ROLE {role} SET default_transaction_read_only = on")
    said = await refused(as_role(postgres_url, role))
    assert f"ALTER ROLE {role} SET default_transaction_read_only = off" in said


async def test_a_user_who_may_make_no_tables_uses_those_of_another(
    postgres: PostgresServer, postgres_url: str, role: str
) -> None:
    url = as_role(postgres_url, role)
    said = await refused(url)
    assert "realmkeep store schema" in said
    async with opened(postgres_url):
        pass  # the owner makes them
    said = await refused(url)
    line = said.partition("GRANT")[2].partition(" TO ")[0]
    await ask(postgres, f"GRANT{line} TO {role}", schema=postgres_url.rpartition("%3D")[2])
    async with opened(url) as storage:
        assert await storage.write([CREATE]) == [Committed()]
        await storage.flush()


async def test_unlogged_tables_are_refused_and_the_hint_mends_them(postgres: PostgresServer, postgres_url: str) -> None:
    schema = postgres_url.rpartition("%3D")[2]
    async with opened(postgres_url):
        pass
    await ask(postgres, "ALTER TABLE realmkeep_list SET UNLOGGED", schema=schema)
    said = await refused(postgres_url)
    for line in said.rpartition("(")[2].rstrip(")").split(";"):
        await ask(postgres, line, schema=schema)
    async with opened(postgres_url):
        pass


async def test_tables_that_citus_distributes_are_refused(postgres: PostgresServer, postgres_url: str) -> None:
    """Citus itself was not run: this is its catalogue."""
    schema = postgres_url.rpartition("%3D")[2]
    async with opened(postgres_url):
        pass
    await ask(postgres, "CREATE TABLE pg_dist_partition (logicalrelid regclass)", schema=schema)
    async with opened(postgres_url):
        pass  # Citus is there, and distributes nothing of ours
    await ask(postgres, "INSERT INTO pg_dist_partition VALUES ('realmkeep_entry')", schema=schema)
    said = await refused(postgres_url)
    assert "undistribute_table('realmkeep_entry')" in said


async def test_tables_of_a_newer_release_are_refused(postgres: PostgresServer, postgres_url: str) -> None:
    async with opened(postgres_url):
        pass
    schema = postgres_url.rpartition("%3D")[2]
    await ask(postgres, "UPDATE realmkeep_entry SET value = '2' WHERE key = ''", schema=schema)
    assert "update this server" in await refused(postgres_url)


async def test_tables_of_another_program_are_refused(postgres: PostgresServer, postgres_url: str) -> None:
    schema = postgres_url.rpartition("%3D")[2]
    for table in ("realmkeep_entry", "realmkeep_list"):
        await ask(postgres, f"CREATE TABLE {table} (id int)", schema=schema)
    assert "not Realmkeep's" in await refused(postgres_url)


async def test_a_server_that_is_too_old_is_refused(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "VERSION_MIN", 990_000)
    assert "PostgreSQL 15 or later" in await refused(postgres_url)


@pytest.mark.parametrize(
    ("settings", "durable", "power", "window_s"),
    [
        ({}, True, True, 0.0),
        ({"synchronous_commit": "local"}, True, True, 0.0),
        ({"synchronous_commit": "off"}, False, False, 0.6),
    ],
    ids=str,
)
async def test_the_capability_is_what_the_role_is_set_to(
    postgres: PostgresServer, postgres_url: str, settings: dict[str, str], durable: bool, power: bool, window_s: float
) -> None:
    for name, value in settings.items():
        await ask(postgres, f"ALTER ROLE {USER} SET {name} = {value}")
    try:
        async with opened(postgres_url) as storage:
            capability = storage.capability
            assert (capability.durable_on_return, capability.survives_power_loss) == (durable, power)
            assert capability.loss_window_s == pytest.approx(window_s)
            assert capability.fsync == settings.get("synchronous_commit", "on")
    finally:
        await ask(postgres, f"ALTER ROLE {USER} RESET ALL")


# The rows.


async def test_expired_keys_and_former_lists_leave_no_rows(
    postgres: PostgresServer, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "SWEEP_INTERVAL_S", 0.0)
    schema = postgres_url.rpartition("%3D")[2]
    async with opened(postgres_url) as storage:
        lists = [Append("list", b"1"), Append("list", b"2")]
        await storage.write([Transaction((), (Put("brief", b"1", 0.001), Put("kept", b"1"), *lists))])
        await storage.delete("list")
        assert await ask(postgres, "SELECT count(*) FROM realmkeep_list", schema=schema) == [(0,)]
        for _ in range(2):  # the sweep follows the write
            await storage.save("kept", b"2")
        keys = await ask(postgres, "SELECT key FROM realmkeep_entry WHERE key > '' ORDER BY key", schema=schema)
        assert keys == [("kept",), ("list",)]  # the list's row remembers its positions
        await ask(postgres, "UPDATE realmkeep_entry SET expires_us = 1 WHERE key = 'list'", schema=schema)
        for _ in range(2):
            await storage.save("kept", b"3")
        assert await ask(postgres, "SELECT count(*) FROM realmkeep_entry", schema=schema) == [(2,)]
        await storage.write([Transaction((), (Append("list", b"3"),))])
        assert await storage.load_list("list") == [b"3"]


def test_the_tables_are_printed_for_a_user_who_may_make_them(
    postgres: PostgresServer, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    app(["store", "schema"], result_action="return_value")
    schema = postgres_url.rpartition("%3D")[2]
    postgres.ask(capsys.readouterr().out, schema=schema)
    query = "SELECT to_regclass('realmkeep_entry') IS NOT NULL AND to_regclass('realmkeep_run') IS NOT NULL"
    assert postgres.ask(query, schema=schema) == [(True,)]


# The way there: TLS, passwords, services.


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PostgresServer, int, Path]]:
    """A server that asks for TLS and a password on its port; its port and the file of its authority."""
    made = make(tmp_path_factory.mktemp("tls"))
    port = free_ports(1)
    settings = {"listen_addresses": "127.0.0.1", "ssl": "on"}
    postgres = PostgresServer(programs=POSTGRESQL_15, settings=settings, port=port)  # the wheel has no TLS
    try:
        postgres.make()
        postgres.add_file("server.crt", made.cert.read_text())
        postgres.add_file("server.key", made.key.read_text())
        postgres.add_file("pg_hba.conf", "local all all trust\nhostssl all all 127.0.0.1/32 scram-sha-256\n")
        postgres.start()
        postgres.ask(f"CREATE ROLE ada LOGIN PASSWORD '{PASSWORD}'")
        postgres.ask("GRANT CREATE ON SCHEMA public TO ada")
        yield postgres, port, made.cert
    finally:
        postgres.close()


def secret_file(directory: Path, text: str = f"{PASSWORD}\n") -> Path:
    file = directory / "secret"
    file.write_text(text)
    file.chmod(0o600)
    return file


@pytest.mark.needs("postgresql-15")
async def test_a_verified_certificate_and_a_password_file_leave_no_warning(
    guarded: tuple[PostgresServer, int, Path], tmp_path: Path
) -> None:
    _, port, authority = guarded
    secret = secret_file(tmp_path)
    for host in ("127.0.0.1", "localhost"):
        url = f"postgresql://ada@{host}:{port}/postgres?sslmode=verify-full&sslrootcert={authority}&password_file={secret}"
        async with opened(url) as storage:
            assert storage.capability.warnings == ()
            assert PASSWORD not in repr(storage)


@pytest.mark.needs("postgresql-15")
async def test_the_password_may_stand_where_psql_looks(
    guarded: tuple[PostgresServer, int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, port, authority = guarded
    passfile = secret_file(tmp_path, f"127.0.0.1:{port}:postgres:ada:{PASSWORD}\n")
    async with opened(f"postgresql://ada@127.0.0.1:{port}/postgres?passfile={passfile}"):
        pass
    services = tmp_path / "services"
    services.write_text(
        f"[realm]\nhost=127.0.0.1\nport={port}\ndbname=postgres\nuser=ada\npassword={PASSWORD}\n"
        f"sslmode=verify-full\nsslrootcert={authority}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    async with opened("postgresql://?service=realm"):
        pass
    monkeypatch.setenv("PGSERVICE", "realm")
    async with opened("postgresql://"):
        pass
    assert "PGSERVICEFILE" in await refused("postgresql://?service=other")


@pytest.mark.needs("postgresql-15")
async def test_each_fault_of_the_way_there_has_its_own_words(
    guarded: tuple[PostgresServer, int, Path], tmp_path: Path
) -> None:
    postgres, port, authority = guarded
    base = f"postgresql://ada@127.0.0.1:{port}/postgres"
    secret = secret_file(tmp_path)
    assert "pg_hba.conf" in await refused(f"{base}?sslmode=disable&password_file={secret}")
    assert "asks for a password" in await refused(f"{base}?sslmode=require")
    other = make(tmp_path / "other")
    assert "sslrootcert" in await refused(f"{base}?sslmode=verify-full&sslrootcert={other.cert}&password_file={secret}")
    assert "sslrootcert" in await refused(f"{base}?sslmode=verify-full&sslrootcert=/nowhere&password_file={secret}")
    wrong = secret_file(tmp_path, "another\n")
    assert "refuses the user name or the password" in await refused(f"{base}?password_file={wrong}")
    secret.chmod(0o644)
    assert "password_file" in await refused(f"{base}?password_file={secret}")
    ada = quote(PASSWORD, safe="")
    url = f"postgresql://ada:{ada}@127.0.0.1:{port}/nowhere?sslmode=verify-full&sslrootcert={authority}"
    assert "CREATE DATABASE" in await refused(url)
    assert "CREATE ROLE" in await refused(as_role(postgres.url, "nobody"))
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        free_port = closed.getsockname()[1]
        assert "cannot be reached" in await refused(f"postgresql://ada@127.0.0.1:{free_port}/x", StorageUnavailable)


# The statements for other databases, on PostgreSQL: they are a part of its language. Their own databases were not run.


class BorrowedBackend(Backend):
    opens_twice = True
    histories = 3

    def __init__(self, url: str) -> None:
        super().__init__(SystemClock())
        self._url = url

    def new(self) -> PostgresStorage:
        storage = open_storage(self._url, clock=self.clock)
        assert isinstance(storage, PostgresStorage)
        return storage

    async def elapse(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.mark.parametrize("name", ["cockroachdb", "yugabytedb", "aurora_dsql"])
async def test_the_statements_for_another_database_are_right_as_far_as_postgres_can_tell(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (dialect,) = [each for each in dialects.DIALECTS if each.name == name]
    reference, texts = TEXTS["postgresql"], TEXTS[name]
    session = reference["session"].replace("'repeatable read'", "'serializable'")
    borrowed = texts | {name: reference[name] for name in ("schema", "server")} | {"session": session}

    def its_texts(_dialect: dialects.Dialect) -> dict[str, str]:
        return borrowed

    def is_it(_version: str, *, is_dsql: bool) -> dialects.Dialect:
        return dialect

    monkeypatch.setattr(dialects.Dialect, "texts", its_texts)
    monkeypatch.setattr("realmkeep.storage.postgres.connection.dialect_of", is_it)
    backend = BorrowedBackend(postgres_url)
    await StorageContract().test_random_histories_end_as_they_do_in_a_plain_dictionary(backend)
    async with opened(postgres_url) as storage:
        assert "not run" in storage.capability.engine
        assert await storage.run_id() == ""
        await StorageContract().test_money_that_two_move_about_is_conserved(storage, backend)
        await StorageContract().test_of_two_who_create_a_key_one_wins(storage, backend)
