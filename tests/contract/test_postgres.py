import asyncio
import inspect
import secrets
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle

import psycopg
import pytest

from realmkeep.clock import SystemClock
from realmkeep.storage import Storage, Transaction, open_storage
from realmkeep.storage.postgres import connection, dialects, server, writer
from realmkeep.storage.postgres.folding import NetChunk, fold
from realmkeep.testing.contract import Backend, StorageContract
from realmkeep.testing.postgres_server import PostgresServer

ISOLATION = ["test_of_two_who_create_a_key_one_wins", "test_of_two_who_build_on_what_the_other_changes_one_is_refused"]
TEXTS = dialects.POSTGRESQL.texts()
ANY_ORDER = "test_two_who_want_the_same_keys_in_any_order_both_get_them"
CONFLICTS = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF random() < 0.3 THEN RAISE EXCEPTION 'injected' USING ERRCODE = '40001'; END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER refuse BEFORE INSERT OR DELETE ON realmkeep_entry FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE TRIGGER refuse BEFORE INSERT OR DELETE ON realmkeep_list FOR EACH STATEMENT EXECUTE FUNCTION refuse();
CREATE FUNCTION refuse_the_commit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF pg_current_xact_id()::text::bigint % 10 < 3 THEN
    RAISE EXCEPTION 'injected at COMMIT' USING ERRCODE = '40001';
  END IF;
  RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER refuse_the_commit AFTER INSERT OR UPDATE ON realmkeep_entry
  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse_the_commit();
"""


class PostgresBackend(Backend):
    opens_twice = True
    histories = 4  # a step takes a few milliseconds, and there are six classes

    def __init__(self, url: str) -> None:
        super().__init__(SystemClock())
        self._url = url

    def new(self) -> Storage:
        return open_storage(self._url, clock=self.clock)

    async def elapse(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@contextmanager
def schema_on(postgres: PostgresServer) -> Generator[str]:
    """The URL of a schema. No test of the contract may leave a deadlock behind, although a storage gets over it."""
    before = postgres.deadlocks()
    schema = f"test_{secrets.token_hex(6)}"
    yield postgres.new_schema(schema)
    postgres.ask(f"DROP SCHEMA {schema} CASCADE")
    assert postgres.deadlocks() == before


def emptied(url: str) -> Backend:
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("SET session_replication_role = replica")  # no triggers
        for table in ("realmkeep_entry", "realmkeep_list"):
            if admin.execute("SELECT to_regclass(%s)", [table]).fetchone() != (None,):
                admin.execute(f"DELETE FROM {table}".encode())
    return PostgresBackend(url)


@pytest.fixture
def only_the_slow_path(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing_folds(transactions: Sequence[Transaction]) -> None: ...

    monkeypatch.setattr(writer, "fold", nothing_folds)


@pytest.fixture
def now_fast_now_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every other chunk takes the slow path."""
    turns = cycle([True, False])

    def folds_every_other(transactions: Sequence[Transaction]) -> NetChunk | None:
        return fold(transactions) if next(turns) else None

    monkeypatch.setattr(writer, "fold", folds_every_other)


class OnPostgres(StorageContract):
    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, postgres: PostgresServer) -> Iterator[str]:
        with schema_on(postgres) as url:
            yield url

    @pytest.fixture
    def backend(self, url: str) -> Backend:
        return emptied(url)


@pytest.mark.backend("postgresql")
class TestPostgres(OnPostgres): ...


@pytest.mark.backend("postgresql")
@pytest.mark.usefixtures("only_the_slow_path")
class TestPostgresUnderLocks(OnPostgres): ...


class OnPostgres15(OnPostgres):
    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, postgres_15: PostgresServer) -> Iterator[str]:
        with schema_on(postgres_15) as url:
            yield url


@pytest.mark.needs("postgresql-15")
class TestPostgres15(OnPostgres15): ...


@pytest.mark.needs("postgresql-15")
@pytest.mark.usefixtures("only_the_slow_path")
class TestPostgres15UnderLocks(OnPostgres15): ...


class OnPostgresWithConflicts(OnPostgres):
    """Every third statement is refused, and so is every third commit."""

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, postgres: PostgresServer) -> Iterator[str]:
        with schema_on(postgres) as url:
            with_conflicts(url)
            yield url


@pytest.mark.backend("postgresql")
@pytest.mark.usefixtures("now_fast_now_slow")
class TestPostgresWithConflicts(OnPostgresWithConflicts): ...


def with_conflicts(url: str) -> None:
    async def make_tables() -> None:
        storage = open_storage(url)
        await storage.connect()
        await storage.disconnect()

    asyncio.run(make_tables())
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(CONFLICTS.encode())


@pytest.fixture
def own_url(postgres: PostgresServer) -> Iterator[str]:
    """For the controls: what they leave behind is their own."""
    schema = f"test_{secrets.token_hex(6)}"
    yield postgres.new_schema(schema)
    postgres.ask(f"DROP SCHEMA {schema} CASCADE")


def weaken(monkeypatch: pytest.MonkeyPatch, change: Callable[[str], str]) -> None:
    """Change every statement."""
    texts = {name: change(text) for name, text in TEXTS.items()}

    def weakened(dialect: dialects.Dialect) -> dict[str, str]:
        return texts

    monkeypatch.setattr(dialects.Dialect, "texts", weakened)


@pytest.fixture
def read_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The isolation that Postgres has by default, and no check of it."""
    weaken(monkeypatch, lambda text: text.replace("'repeatable read'", "'read committed'"))
    monkeypatch.setattr(connection, "BEGIN", b"BEGIN ISOLATION LEVEL READ COMMITTED")
    monkeypatch.setattr(server, "ISOLATED", {"read committed"})


async def run(name: str, url: str) -> None:
    """Run one test of the contract."""
    backend = PostgresBackend(url)
    storage = backend.new()
    await storage.connect()
    try:
        test = getattr(StorageContract(), name)
        fixtures = {"storage": storage, "backend": backend}
        await test(**{name: fixtures[name] for name in inspect.signature(test).parameters})
    finally:
        await storage.disconnect()


@pytest.mark.backend("postgresql")
@pytest.mark.usefixtures("read_committed")
@pytest.mark.parametrize("name", ISOLATION)
async def test_read_committed_breaks_the_contract(own_url: str, name: str) -> None:
    with pytest.raises(AssertionError):
        await run(name, own_url)


@pytest.mark.backend("postgresql")
@pytest.mark.usefixtures("read_committed", "only_the_slow_path")
@pytest.mark.parametrize("name", ISOLATION)
async def test_read_committed_breaks_the_contract_under_locks(own_url: str, name: str) -> None:
    with pytest.raises(AssertionError):
        await run(name, own_url)


@pytest.mark.backend("postgresql")
@pytest.mark.parametrize("path", ["fast", "slow"])
async def test_locks_in_no_order_block_each_other(
    own_url: str, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, path: str
) -> None:
    if path == "slow":
        request.getfixturevalue("only_the_slow_path")
    before = await asyncio.to_thread(postgres.deadlocks)
    weaken(monkeypatch, locking_slowly)
    await run(ANY_ORDER, own_url)
    assert await asyncio.to_thread(postgres.deadlocks) == before
    in_no_order = "ORDER BY random() FOR UPDATE"
    weaken(monkeypatch, lambda text: locking_slowly(text).replace("ORDER BY key FOR UPDATE", in_no_order))
    await run(ANY_ORDER, own_url)
    assert await asyncio.to_thread(postgres.deadlocks) > before


def locking_slowly(text: str) -> str:
    """A millisecond passes before each row of `lock.sql` and `fast.sql` is locked."""
    lazily = "CASE WHEN pg_sleep(0.001) IS NOT NULL THEN next END"
    if "FOR UPDATE" not in text or "SKIP LOCKED" in text:
        return text
    return text.replace("first, next,", f"first, {lazily} AS next,").replace("next > first AS", f"{lazily} > first AS")


@pytest.mark.backend("postgresql")
async def test_a_storage_that_repeats_nothing_fails_under_conflicts(
    own_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(with_conflicts, own_url)
    monkeypatch.setattr(writer, "REPEATS_MAX", 1)
    with pytest.raises(AssertionError, match="too many conflicts"):
        await run("test_money_that_two_move_about_is_conserved", own_url)
