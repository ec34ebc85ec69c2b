"""A cold store in PostgreSQL: the specification's table `players`, and `records` for every other record."""

from __future__ import annotations

import asyncio
import heapq
import re
from contextlib import suppress
from itertools import groupby, islice
from operator import attrgetter
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import psycopg

from realmkeep.errors import StorageMisconfigured, StorageUnavailable
from realmkeep.storage.cold.postgres_boards import PostgresColdBoards, write_scores
from realmkeep.storage.cold.protocol import ColdBatch, ColdHead, ColdLetter, ColdRow, ColdWritten
from realmkeep.storage.postgres.arrays import bigints, byteas, texts
from realmkeep.storage.postgres.connection import open_connection, storage_error
from realmkeep.storage.postgres.dialects import POSTGRESQL
from realmkeep.storage.postgres.errors import is_conflict
from realmkeep.storage.postgres.readers import ReaderPool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

    from realmkeep.clock import Clock
    from realmkeep.storage.cold.boards import ColdScore
    from realmkeep.storage.postgres.address import PostgresAddress
    from realmkeep.storage.postgres.connection import PostgresConnection, Row

T = TypeVar("T")

CHUNK_ROWS: Final = 50  # with their bytes, up to 250 KB: packing them takes the event loop half a millisecond
CHUNK_HEADS: Final = 500  # rows without their bytes
SORT_SLICE: Final = 500  # rows sorted in one turn of the event loop: half a millisecond
VERSION_MAX: Final = 2**31 - 1  # of the column; a larger one is damage, which must not stop the rows beside it
ATTEMPTS: Final = 8  # each lost to another writer of the same rows
_PLAYER: Final = re.compile(r"player:(0|[1-9][0-9]{0,17})")  # `player:007` is another record than `player:7`
_NO_JSON: Final = re.compile(rb"\\u0000|\x00")


class _Placed(NamedTuple):
    """A row with its place in the order of all rows: players first, by number, then the others by key."""

    table: int
    id: int
    key: bytes
    row: ColdRow


class PostgresColdStore:
    """A `ColdStore` in a database.

    Args:
        address: The database.
        clock: The clock.

    Attributes:
        boards: The boards.
    """

    def __init__(self, address: PostgresAddress, *, clock: Clock) -> None:
        self._address = address
        self._clock = clock
        self._readers = ReaderPool(address, POSTGRESQL, clock)
        self._writer: PostgresConnection | None = None
        self._turn = asyncio.Lock()
        self._is_open = False
        self.boards = PostgresColdBoards(self._ask, self._change)

    def __repr__(self) -> str:
        return f"<PostgresColdStore {self._address} {'open' if self._is_open else 'closed'}>"

    async def connect(self) -> None:
        """As `ColdStore.connect`."""
        if not self._is_open:
            self._readers = ReaderPool(self._address, POSTGRESQL, self._clock)
            self._is_open = True  # also if it cannot be reached now: each later call tries again
        async with self._turn:
            await self._connected()

    async def disconnect(self) -> None:
        """As `ColdStore.disconnect`."""
        self._is_open = False
        async with self._turn:
            await self._hang_up()
        await self._readers.close()

    async def write(self, batch: ColdBatch) -> ColdWritten:
        """As `ColdStore.write`."""
        self._check_open()
        unreadable: set[str] = set()
        async with self._turn:  # from the beginning: `disconnect` waits for it
            rows, scores = await self._ordered(batch), await self._scores_by_key(batch)

            async def write(connection: PostgresConnection) -> int:
                while True:
                    try:
                        return await self._write(connection, batch, rows, scores, unreadable)
                    except psycopg.DataError:
                        await connection.roll_back()
                        refused = {key async for key in self._refused(connection, batch, unreadable)}
                        if not refused:
                            raise
                        unreadable.update(refused)
                        await connection.ask("cold_begin")

            return ColdWritten(await self._transact(write), tuple(sorted(unreadable)))

    async def _ordered(self, batch: ColdBatch) -> list[_Placed]:
        """The newest row of each key, in the order in which every server locks them."""
        newest: dict[str, ColdRow] = {}
        for position, row in enumerate(batch.rows, 1):
            if (known := newest.get(row.key)) is None or known.revision <= row.revision:
                newest[row.key] = row
            if position % SORT_SLICE == 0:
                await self._clock.sleep(0)
        runs: list[list[_Placed]] = []
        left = iter(newest.values())
        while some := list(islice(left, SORT_SLICE)):
            runs.append(sorted(map(_placed, some)))
            await self._clock.sleep(0)
        ordered: list[_Placed] = []
        for placed in heapq.merge(*runs):
            ordered.append(placed)
            if len(ordered) % SORT_SLICE == 0:
                await self._clock.sleep(0)
        return ordered

    async def _scores_by_key(self, batch: ColdBatch) -> dict[str, list[ColdScore]]:
        scores: dict[str, list[ColdScore]] = {}
        for position, score in enumerate(batch.scores, 1):
            scores.setdefault(score.key, []).append(score)
            if position % SORT_SLICE == 0:
                await self._clock.sleep(0)
        return scores

    async def _write(
        self,
        connection: PostgresConnection,
        batch: ColdBatch,
        rows: Sequence[_Placed],
        scores: Mapping[str, Sequence[ColdScore]],
        unreadable: set[str],
    ) -> int:
        count = 0
        for some in _chunks(rows):
            if some[0].table:
                table, keys = "cold_records", texts([each.row.key for each in some])
            else:
                table, keys = "cold_players", bigints([each.id for each in some])
            columns = _columns([each.row for each in some], unreadable)
            raised = {key for (key,) in await connection.ask(table, keys, *columns, batch.repairs)}
            count += len(raised)
            told = [each.row.key for each in some if (each.row.key if each.table else each.id) in raised]
            # Only the server that holds the lock of a row writes its scores, so these need no order of their own.
            await write_scores(connection, [score for key in told for score in scores.get(key, ())])
        if batch.letters:
            letters = batch.letters
            told = texts([each.id for each in letters]), texts([each.receiver for each in letters])
            await connection.ask("cold_letters", *told, byteas([each.stored for each in letters]))
        if batch.opened:
            await connection.ask("cold_opened", texts([*dict.fromkeys(batch.opened)]))
        if batch.marks:
            await connection.ask("cold_marks", texts([*batch.marks]), bigints([*batch.marks.values()]))
        return count

    async def _refused(
        self, connection: PostgresConnection, batch: ColdBatch, unreadable: set[str]
    ) -> AsyncIterator[str]:
        """The keys of the rows that the database does not take for JSON, found by halves."""
        asked = [[row for row in batch.rows if row.key not in unreadable and _json(row.body or b"")]]
        while asked:
            rows = asked.pop()
            try:
                await connection.ask("cold_is_json", texts([_json(row.body or b"") for row in rows]))
            except psycopg.DataError:
                if len(rows) == 1:
                    yield rows[0].key
                else:
                    asked += [rows[: len(rows) // 2], rows[len(rows) // 2 :]]

    async def rows(self, keys: Sequence[str]) -> list[ColdRow | None]:
        """As `ColdStore.rows`."""
        found: dict[str, ColdRow] = {}
        for key, revision, version, digest, body, ops in await self._read("rows", keys):
            found[key] = ColdRow(key, revision, version, bytes(body) if digest else None, bytes(ops))
        return [found.get(key) for key in keys]

    async def heads(self, keys: Sequence[str]) -> list[ColdHead | None]:
        """As `ColdStore.heads`."""
        found = {row[0]: _head(row) for row in await self._read("heads", keys)}
        return [found.get(key) for key in keys]

    async def all_heads(self) -> AsyncIterator[list[ColdHead]]:
        """As `ColdStore.all_heads`."""
        for table, first in (("players", -1), ("records", "")):
            after: int | str = first
            while page := await self._ask(f"cold_page_of_{table}", after, CHUNK_HEADS):
                yield [_head(_keyed(row)) for row in page]
                after = page[-1][0]

    async def unopened(self, after: int, count: int) -> list[tuple[int, ColdLetter]]:
        """As `ColdStore.unopened`."""
        rows = await self._ask("cold_unopened", after, count)
        return [(place, ColdLetter(id_, receiver, bytes(stored))) for place, id_, receiver, stored in rows]

    async def marks(self) -> dict[str, int]:
        """As `ColdStore.marks`."""
        return dict(await self._ask("cold_read_marks"))  # two columns

    async def erase(self, key: str, revision: int, boards: Sequence[str] = ()) -> None:
        """As `ColdStore.erase`."""
        player = _player_id(key)
        kind, id_, *_ = key.split(":")

        async def erase(connection: PostgresConnection) -> None:
            if player is not None:
                await connection.ask("cold_erase_player", player, revision)
            else:
                await connection.ask("cold_erase_record", key, kind, id_, revision)
            await connection.ask("cold_erase_letters", key)
            await connection.ask("cold_unrank", texts([*boards]), texts([id_] * len(boards)))
            await connection.ask("cold_note_erasure", key)

        await self._change(erase)

    async def tidy(self) -> None:
        """As `ColdStore.tidy`."""
        await self._change(lambda connection: connection.ask("cold_tidy"))

    async def _change(self, do: Callable[[PostgresConnection], Awaitable[T]]) -> T:
        self._check_open()
        async with self._turn:
            return await self._transact(do)

    async def _transact(self, do: Callable[[PostgresConnection], Awaitable[T]]) -> T:
        """Execute statements in a transaction of its own, once more after each conflict. The caller has the turn."""
        for _ in range(ATTEMPTS):
            connection = await self._connected()
            try:
                await connection.ask("cold_begin")
                result = await do(connection)
                await connection.ask("cold_commit")
            except psycopg.Error as error:
                await self._undo(connection, error)
                if not is_conflict(error):
                    raise storage_error(error, self._address, sent=True) from error
            except BaseException:  # cancelled: the connection is in the middle of a transaction
                await self._hang_up()
                raise
            else:
                return result
        raise StorageUnavailable(f"the store {self._address} had too many conflicts", hint="try again")

    async def _read(self, what: str, keys: Sequence[str]) -> list[Row]:
        """The rows of players and of other records, each with its key first."""
        found: list[Row] = []
        chunk = CHUNK_ROWS if what == "rows" else CHUNK_HEADS
        for start in range(0, len(keys), chunk):
            some = keys[start : start + chunk]
            players = {key: at for key in some if (at := _player_id(key)) is not None}
            others = [key for key in some if key not in players]
            if players:
                found += map(_keyed, await self._ask(f"cold_player_{what}", bigints([*players.values()])))
            if others:
                found += await self._ask(f"cold_record_{what}", texts(others))
        return found

    async def _ask(self, name: str, *parameters: object) -> list[Row]:
        self._check_open()
        return await self._readers.ask(name, *parameters)

    def _check_open(self) -> None:
        if not self._is_open:
            raise StorageUnavailable(f"the store {self._address} is not connected", hint="await cold.connect() first")

    async def _connected(self) -> PostgresConnection:
        """The connection for writes, made anew if it has ended; its tables exist."""
        if self._writer is not None and not self._writer.is_over:
            return self._writer
        connection: PostgresConnection | None = None
        try:
            connection = await open_connection(self._address, self._clock)
            if connection.dialect is not POSTGRESQL:
                raise StorageMisconfigured(
                    f"the cold store is a {connection.dialect.name}, with which it was never run", hint="use PostgreSQL"
                )
            ((is_standby,),) = await connection.ask("role")
            if is_standby:
                raise StorageUnavailable(f"the store {self._address} is a standby", hint="name its primary")
            await connection.ask("cold_session")
            await _make_tables(connection)
        except (psycopg.Error, OSError, TimeoutError, StorageUnavailable, StorageMisconfigured) as error:
            if connection is not None:
                await connection.close()
            raise storage_error(error, self._address, sent=False) from error
        except BaseException:
            if connection is not None:
                await connection.close()
            raise
        self._writer = connection
        return connection

    async def _undo(self, connection: PostgresConnection, error: Exception) -> None:
        """Roll back; a connection that cannot is given up."""
        try:
            await connection.roll_back()
        except psycopg.Error as lost:
            lost.__cause__ = error
            await self._hang_up()

    async def _hang_up(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            with suppress(psycopg.Error):  # it has ended already
                await writer.close()


async def _make_tables(connection: PostgresConnection) -> None:
    """Make the tables that are absent; another server may make them in this moment."""
    ((exist,),) = await connection.ask("cold_exist")
    for _ in range(0 if exist else ATTEMPTS):
        try:
            await connection.run_script("cold_schema")
        except (psycopg.errors.UniqueViolation, psycopg.errors.DuplicateTable, psycopg.errors.DuplicateObject):
            continue
        return


def _player_id(key: str) -> int | None:
    found = _PLAYER.fullmatch(key)
    return None if found is None else int(found[1])


def _keyed(row: Row) -> Row:
    """A row with its key first; a row of `players` has a number there."""
    return (f"player:{row[0]}", *row[1:]) if isinstance(row[0], int) else row


def _head(row: Row) -> ColdHead:
    return ColdHead(row[0], row[1], bytes(row[2]))


def _placed(row: ColdRow) -> _Placed:
    player = _player_id(row.key)
    return _Placed(1, 0, row.key.encode(), row) if player is None else _Placed(0, player, b"", row)


def _chunks(rows: Sequence[_Placed]) -> Iterator[Sequence[_Placed]]:
    """Rows for one statement each: of one table."""
    for _, of_table in groupby(rows, key=attrgetter("table")):
        while some := list(islice(of_table, CHUNK_ROWS)):
            yield some


def _columns(rows: Sequence[ColdRow], unreadable: set[str]) -> tuple[object, ...]:
    """The columns of these rows. Those without a copy for queries are added to `unreadable`."""
    copies = [_text(row, unreadable) for row in rows]
    unreadable.update(row.key for row, copy in zip(rows, copies, strict=True) if not copy)
    return (
        bigints([min(row.version, VERSION_MAX) for row in rows]),
        texts(copies),
        bigints([row.revision for row in rows]),
        byteas([row.body or b"" for row in rows]),
        byteas([row.ops for row in rows]),
        byteas([row.digest for row in rows]),
    )


def _text(row: ColdRow, unreadable: set[str]) -> str:
    """The copy for queries; empty if it cannot be JSON of the database."""
    if row.body is None:
        return "{}"
    return "" if row.key in unreadable else _json(row.body)


def _json(body: bytes) -> str:
    """The bytes of a record as JSON that the database may take; empty if it certainly does not."""
    if not body.startswith(b"{") or _NO_JSON.search(body):
        return ""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return ""
