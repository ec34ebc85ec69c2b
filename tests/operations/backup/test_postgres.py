"""A Postgres store is kept as a SQLite store, so a backup moves between the two."""

import asyncio
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from operations.traders import CLOCK, GAME, TRADERS, census_of, trading
from realmkeep.errors import RestoreRefused, StorageUnavailable
from realmkeep.operations.backup.creating import create_backup
from realmkeep.operations.backup.restoring import plan_restore, restore_backup
from realmkeep.storage import Append, Delete, DropFirst, Put, Transaction, open_storage
from realmkeep.storage.postgres.address import parse_postgres_url
from realmkeep.storage.postgres.snapshot import fill_database
from realmkeep.storage.sqlite_rows import new_store
from realmkeep.testing.postgres_server import PostgresServer

pytestmark = pytest.mark.backend("postgresql")


async def moved(source: str, target: str, backups: Path) -> None:
    await create_backup(source, backups, GAME, clock=CLOCK)
    plan = await plan_restore(backups, target, clock=CLOCK)
    await restore_backup(plan, GAME, identities=(), clock=CLOCK)


async def test_a_realm_moves_from_postgres_to_sqlite_and_back(
    tmp_path: Path, postgres: PostgresServer, postgres_url: str
) -> None:
    async with trading(postgres_url):
        """A realm with traders."""
    storage = open_storage(postgres_url)
    await storage.connect()
    letters = "trader:1:inbox"
    for effects in (
        [Append(letters, b"%d" % number) for number in range(5)],
        [DropFirst(letters, 2)],  # the list begins at its third position
        [Append("trader:2:inbox", b"x"), DropFirst("trader:2:inbox", 1)],  # the rows of absent keys
        [Put("trader:99", b"gone"), Delete("trader:99")],
        [Put("server:sent:" + "d" * 32, b"1", expire_s=600), Put("theirs", b"", expire_s=600)],
    ):
        await storage.write([Transaction((), effects)])
    await storage.disconnect()
    before = await census_of(postgres_url)
    assert before.records == {"trader": TRADERS}

    await moved(postgres_url, f"sqlite:///{tmp_path}/realm.db", tmp_path / "one")
    back = postgres.new_schema("backup_back")
    await moved(f"sqlite:///{tmp_path}/realm.db", back, tmp_path / "two")
    there = await census_of(back)
    assert (there.totals, there.serials_digest, there.records) == (before.totals, before.serials_digest, before.records)
    storage = open_storage(back)
    await storage.connect()
    await storage.write([Transaction((), [Append(letters, b"5"), DropFirst(letters, 1)])])
    assert await storage.load_list(letters) == [b"3", b"4", b"5"]
    assert not await storage.exists("trader:2:inbox")
    assert not await storage.exists("trader:99")
    assert await storage.load("theirs") == b""
    await storage.disconnect()
    rows = postgres.ask(
        "SELECT expires_us - (extract(epoch FROM now()) * 1e6)::bigint FROM backup_back.realmkeep_entry"
        " WHERE key = 'theirs'"
    )
    assert 0 < int(rows[0][0]) < 600 * 1_000_000
    postgres.ask("DROP SCHEMA backup_back CASCADE")


async def test_a_database_is_filled_at_one_moment_or_not_at_all(tmp_path: Path, postgres_url: str) -> None:
    storage = open_storage(postgres_url)
    await storage.connect()
    await storage.disconnect()  # it has made the tables
    address = parse_postgres_url(urlsplit(postgres_url))

    def make() -> None:
        with new_store(tmp_path / "rows.db") as store:
            store.add_entries([("a", b"1", None), ("b", b"2", None)])

    await asyncio.to_thread(make)
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("ALTER TABLE realmkeep_entry ADD CONSTRAINT refuse CHECK (key <> 'b')")
    with pytest.raises(StorageUnavailable):
        await asyncio.to_thread(fill_database, address, tmp_path / "rows.db")
    assert (await census_of(postgres_url)).keys == 0
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute("ALTER TABLE realmkeep_entry DROP CONSTRAINT refuse")
    await asyncio.to_thread(fill_database, address, tmp_path / "rows.db")
    with pytest.raises(RestoreRefused, match=r"is not empty \(2 keys\)"):
        await asyncio.to_thread(fill_database, address, tmp_path / "rows.db")


async def test_a_database_that_is_away_is_named_without_its_password(tmp_path: Path, backups: Path) -> None:
    with pytest.raises(StorageUnavailable) as refused:
        await create_backup(f"postgresql://realm:hunter2@/none?host={tmp_path}", backups, GAME, clock=CLOCK)
    assert "hunter2" not in str(refused.value)
