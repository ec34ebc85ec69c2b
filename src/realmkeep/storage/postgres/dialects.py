"""The databases that speak Postgres's protocol, told apart by `version()`, and their statements.

Only PostgreSQL is run by the tests. The statements for CockroachDB, YugabyteDB and Aurora DSQL follow their documentation and
were **not run**; each of them is in a folder of its own under `sql/`, where it differs from PostgreSQL's.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from realmkeep.errors import StorageMisconfigured


@dataclass(frozen=True)
class Dialect:
    """One kind of database.

    Attributes:
        name: Its name; the folder of the statements that differ from PostgreSQL's.
        was_run: The tests run it.
        has_unlogged_tables: A table that a crash empties names the runs of the server.
        locks_rows: `SELECT ... FOR UPDATE` locks the rows of many keys. Where it does not, only the slow path is taken, and
            it writes each row that it looked at, because only two writes of one row collide.
    """

    name: str
    was_run: bool
    has_unlogged_tables: bool
    locks_rows: bool

    def texts(self) -> dict[str, str]:
        """Return the text of every statement by its name. The first call reads files, and blocks."""
        return _texts(self.name)

    def statement(self, name: str) -> str:
        """Return the text of the statement `name`."""
        return self.texts()[name]

    def statements(self, name: str) -> list[str]:
        """Return the statements of the script `name`, each to be run on its own."""
        return [text for text in (part.strip() for part in self.statement(name).split(";")) if text]


POSTGRESQL: Final = Dialect("postgresql", was_run=True, has_unlogged_tables=True, locks_rows=True)
COCKROACHDB: Final = Dialect("cockroachdb", was_run=False, has_unlogged_tables=False, locks_rows=True)
YUGABYTEDB: Final = Dialect("yugabytedb", was_run=False, has_unlogged_tables=False, locks_rows=True)
AURORA_DSQL: Final = Dialect("aurora_dsql", was_run=False, has_unlogged_tables=False, locks_rows=False)
DIALECTS: Final = (POSTGRESQL, COCKROACHDB, YUGABYTEDB, AURORA_DSQL)


def dialect_of(version: str, *, is_dsql: bool) -> Dialect:
    """Return the dialect of a server.

    Args:
        version: The result of `SELECT version()`.
        is_dsql: The server has the view `sys.jobs`, by which Aurora DSQL is known: its `version()` says PostgreSQL.

    Raises:
        StorageMisconfigured: It is no database that Realmkeep knows.
    """
    if version.startswith("CockroachDB"):
        return COCKROACHDB
    if not version.startswith("PostgreSQL") or "Redshift" in version:
        raise StorageMisconfigured(
            f"the store calls itself {version[:60]!r}, which is no database that Realmkeep knows",
            hint="PostgreSQL 15 or later, CockroachDB, YugabyteDB, Aurora DSQL",
        )
    if is_dsql:
        return AURORA_DSQL
    return YUGABYTEDB if "-YB-" in version else POSTGRESQL


@cache
def _texts(dialect: str) -> dict[str, str]:
    folder = files("realmkeep.storage.postgres").joinpath("sql")
    own = folder.joinpath(dialect)
    found = [*folder.iterdir(), *(own.iterdir() if own.is_dir() else ())]  # the dialect's own come last, and win
    return {
        each.name.removesuffix(".sql"): _without_comments(each.read_text(encoding="utf-8"))
        for each in found
        if each.name.endswith(".sql")
    }


def _without_comments(text: str) -> str:
    """The server would have to read them with each statement, and to log them with each error."""
    return "\n".join(line.partition("--")[0].rstrip() for line in text.splitlines() if not line.startswith("--"))
