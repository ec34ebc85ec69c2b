import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from realmkeep.testing.servers import StoreServer
from suite.engines import needed

if TYPE_CHECKING:
    from realmkeep.testing.postgres_server import PostgresServer


@dataclass
class Engine:
    """Two empty stores of one kind: a realm's, and one to restore into."""

    realm: str
    elsewhere: str


@pytest.fixture(
    params=[
        pytest.param("embedded", marks=pytest.mark.backend("embedded")),
        pytest.param("sqlite", marks=pytest.mark.backend("sqlite")),
        pytest.param("valkey", marks=pytest.mark.backend("redis")),
        pytest.param("postgresql", marks=pytest.mark.backend("postgresql")),
        pytest.param("redis-server", marks=[pytest.mark.backend("redis"), pytest.mark.needs("redis-server")]),
    ]
)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    kind: str = request.param
    if kind == "embedded":
        yield Engine(f"embedded:///{tmp_path}/realm", f"embedded:///{tmp_path}/elsewhere")
    elif kind == "sqlite":
        yield Engine(f"sqlite:///{tmp_path}/realm.db", f"sqlite:///{tmp_path}/elsewhere.db")
    elif kind == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        names = [f"backup_{secrets.token_hex(6)}" for _ in range(2)]
        yield Engine(*map(server.new_schema, names))
        for name in names:
            server.ask(f"DROP SCHEMA {name} CASCADE")
    else:
        binary = needed(kind) if kind == "redis-server" else None
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
        with (
            StoreServer(tmp_path / "one", binary=binary) as one,
            StoreServer(tmp_path / "two", binary=binary) as two,
        ):
            yield Engine(one.url, two.url)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[StoreServer, StoreServer]]:
    """Two stores that run by themselves: a realm's, and an empty one."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with StoreServer(tmp_path / "one") as one, StoreServer(tmp_path / "two") as two:
        yield one, two


@pytest.fixture
def backups(tmp_path: Path) -> Path:
    return tmp_path / "backups"
