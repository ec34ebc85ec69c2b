"""The views of the cold tier: columns by the fields of a class, living rows of one version, and a role that reads them alone."""

import secrets

import psycopg
import pytest

from realmkeep.operations.archive.views import views_of
from realmkeep.records import Record, durable, encode
from realmkeep.storage.cold import ColdBatch, ColdRow, open_cold_store
from realmkeep.testing.postgres_server import PostgresServer


async def test_a_view_has_the_fields_of_its_version(postgres: PostgresServer, postgres_url: str) -> None:
    class Herald(Record, kind="player", version=1):
        name: str = durable(default="")
        gold: int = durable(default=0)
        x: float | None = durable(default=None)
        tags: list[str] = durable(default_factory=list[str])

    class Tower(Record, kind="tower", version=1, suffix="stones"):
        height: int = durable(default=0)

    cold = open_cold_store(postgres_url)
    await cold.connect()
    ada = encode(Herald(name="Ada", gold=7, x=1.5, tags=["a"]))
    rows = [
        ColdRow("player:7", 5, 1, ada),
        ColdRow("player:ada", 6, 1, encode(Herald(name="Bob"))),
        ColdRow("player:8", 7, 2, ada),
        ColdRow("player:9", 8, 0, None),
        ColdRow("player:10", 9, 1, b"(lisp)"),
        ColdRow("tower:n:stones", 10, 1, encode(Tower(height=3))),
    ]
    await cold.write(ColdBatch(rows))
    await cold.disconnect()
    role, schema = f"reader_{secrets.token_hex(4)}", postgres_url.rpartition("%3D")[2]
    for _ in range(2):  # a second run changes nothing
        for statement in views_of([Herald, Tower], role).split(";\n"):
            if statement:
                postgres.ask(statement.replace("%", "%%"), schema=schema)
    postgres.ask(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
    found = postgres.ask("SELECT record_id, name, gold, x, tags FROM player_v1 ORDER BY 1", schema=schema)
    assert found == [("7", "Ada", 7, 1.5, ["a"]), ("ada", "Bob", 0, None, [])]
    assert postgres.ask("SELECT record_id, height FROM tower_stones_v1", schema=schema) == [("n", 3)]
    with psycopg.connect(postgres_url, autocommit=True) as reader:
        reader.execute(f"SET ROLE {role}".encode())
        assert reader.execute("SELECT count(*) FROM player_v1").fetchone() == (2,)
        for forbidden in ("SELECT FROM players", "DELETE FROM tower_stones_v1", "SELECT FROM letters"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(forbidden.encode())
    for statement in (f"DROP OWNED BY {role}", f"DROP ROLE {role}"):
        postgres.ask(statement, schema=schema)
