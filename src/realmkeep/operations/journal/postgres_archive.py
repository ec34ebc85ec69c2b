"""An archive in tables of PostgreSQL: in `realmkeep_journal` a row for each segment, in `realmkeep_journal_keys` for each person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from realmkeep.errors import JournalDamaged, JournalUnavailable, StorageMisconfigured
from realmkeep.operations.journal.archive import another_segment
from realmkeep.operations.journal.segments import TRY, Manifest

if TYPE_CHECKING:
    from collections.abc import Sequence

CONNECT_S_MAX: Final = 10
STATEMENT_MS_MAX: Final = 30_000
TABLE: Final = """CREATE TABLE IF NOT EXISTS realmkeep_journal (
    server text, segment bigint, manifest bytea NOT NULL, packed bytea NOT NULL, PRIMARY KEY (server, segment))"""
INSERT: Final = "INSERT INTO realmkeep_journal VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING"
SERVERS: Final = "SELECT DISTINCT server FROM realmkeep_journal ORDER BY server"
NUMBERS: Final = "SELECT segment FROM realmkeep_journal WHERE server = %s ORDER BY segment"
MANIFEST: Final = "SELECT manifest FROM realmkeep_journal WHERE server = %s AND segment = %s"
PACKED: Final = "SELECT packed FROM realmkeep_journal WHERE server = %s AND segment = %s"
KEYS_TABLE: Final = "CREATE TABLE IF NOT EXISTS realmkeep_journal_keys (person text PRIMARY KEY, key bytea NOT NULL)"
KEYS_OF: Final = "SELECT person, key FROM realmkeep_journal_keys WHERE person = ANY(%s)"
ADD_KEY: Final = "INSERT INTO realmkeep_journal_keys VALUES (%s, %s) ON CONFLICT DO NOTHING"
ERASE_KEY: Final = "INSERT INTO realmkeep_journal_keys VALUES (%s, '') ON CONFLICT (person) DO UPDATE SET key = ''"
PERSONS: Final = "SELECT person FROM realmkeep_journal_keys ORDER BY person"
REMOVE: Final = "DELETE FROM realmkeep_journal WHERE server = %s AND segment = %s"


class PostgresArchive:
    """An archive in a database; the table is made when the archive is used first.

    Args:
        url: `postgresql://user@host/database`; no error repeats its password.

    Raises:
        StorageMisconfigured: psycopg is not installed.
    """

    def __init__(self, url: str) -> None:
        try:
            import psycopg  # noqa: PLC0415 - only such an archive needs it
        except ModuleNotFoundError as error:
            raise StorageMisconfigured(
                "an archive in PostgreSQL needs the package psycopg, which is not installed",
                hint="pip install 'realmkeep[postgres]'",
            ) from error
        self._psycopg: Any = psycopg
        self._url = url
        self._connection: Any = None

    async def servers(self) -> Sequence[str]:
        """As `Archive.servers`."""
        return [server for (server,) in await self._rows(SERVERS)]

    async def numbers(self, server: str) -> Sequence[int]:
        """As `Archive.numbers`."""
        return [number for (number,) in await self._rows(NUMBERS, server)]

    async def manifest(self, server: str, number: int) -> Manifest:
        """As `Archive.manifest`."""
        where = f"segment {number} of {server}"
        return Manifest.decode(await self._value(MANIFEST, server, number), where)

    async def read(self, manifest: Manifest) -> bytes:
        """As `Archive.read`."""
        return await self._value(PACKED, manifest.server, manifest.number)

    async def put(self, manifest: Manifest, packed: bytes) -> None:
        """As `Archive.put`."""
        encoded = manifest.encode()
        await self._rows(INSERT, manifest.server, manifest.number, encoded, packed)
        if await self._value(MANIFEST, manifest.server, manifest.number) != encoded:
            raise another_segment(f"segment {manifest.number} of {manifest.server} in realmkeep_journal")

    async def remove(self, manifest: Manifest) -> None:
        """As `Archive.remove`."""
        await self._rows(REMOVE, manifest.server, manifest.number)

    async def person_keys(self, persons: Sequence[str]) -> dict[str, bytes]:
        """As `Archive.person_keys`."""
        return {person: bytes(key) for person, key in await self._rows(KEYS_OF, list(persons))}

    async def add_person_key(self, person: str, key: bytes) -> bytes:
        """As `Archive.add_person_key`."""
        await self._rows(ADD_KEY, person, key)
        return (await self.person_keys([person]))[person]

    async def erase_person(self, person: str) -> None:
        """As `Archive.erase_person`."""
        await self._rows(ERASE_KEY, person)

    async def persons(self) -> Sequence[str]:
        """As `Archive.persons`."""
        return [person for (person,) in await self._rows(PERSONS)]

    async def close(self) -> None:
        """As `Archive.close`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _value(self, statement: str, server: str, number: int) -> bytes:
        rows = await self._rows(statement, server, number)
        if not rows:
            raise JournalDamaged(f"segment {number} of {server} is missing", hint=TRY)
        return bytes(rows[0][0])

    async def _rows(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Execute a statement, committed on return; its rows."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = await self._connected()
            cursor = await self._connection.execute(statement, parameters)
            return await cursor.fetchall() if cursor.description else []
        except self._psycopg.Error as error:
            await self.close()
            said = str(error).partition("\n")[0]
            raise JournalUnavailable(
                f"the archive of the journal, in PostgreSQL: {said:.300}", hint="look at journal.url and the database"
            ) from error

    async def _connected(self) -> Any:
        connection = await self._psycopg.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=CONNECT_S_MAX
        )
        await connection.execute(f"SET statement_timeout = {STATEMENT_MS_MAX}")
        for table in (TABLE, KEYS_TABLE):
            await connection.execute(table)
        return connection
