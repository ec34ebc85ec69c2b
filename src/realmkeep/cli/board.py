"""`realmkeep board`: the ranks of a realm's records."""

import asyncio
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, TypeVar

from cyclopts import App, Parameter

from realmkeep.cli.acting import printable, say_json, utc
from realmkeep.cli.exit_codes import exit_codes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from realmkeep.config import Config
    from realmkeep.keeping import Standing
    from realmkeep.keeping.boards.board import Board, BoardSource

T = TypeVar("T")

app = App(name="board", help="Boards: the records of a realm, ranked by a field with durable(ranked=...).")


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Asking:
    """The options of every question."""

    store: Annotated[str | None, Parameter(help="URL of the store; by default from the settings.")] = None
    json: Annotated[bool, Parameter(negative="", help="Print JSON instead of lines.")] = False


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class AskingRanks(Asking):
    """The options of a question about ranks."""

    season: Annotated[str, Parameter(help="A season that has ended; by default the one that runs.")] = ""


ASKING = Asking()
ASKING_RANKS = AskingRanks()


@app.command(name="list")
def list_(how: Asking = ASKING) -> None:
    """List the boards that the game declares."""
    from realmkeep.operations.backup.game import game_of  # noqa: PLC0415 - a command imports its modules when it runs

    with exit_codes():
        classes = game_of(_config(how)).holdings.records
    boards = sorted(field.ranked for cls in classes for field in cls.__realmkeep__.durable if field.ranked)
    if how.json:
        say_json(boards)
    else:
        sys.stdout.writelines(f"{board}\n" for board in boards)


@app.command
def top(name: str, how: AskingRanks = ASKING_RANKS, *, count: int = 10, after: int = 0) -> None:
    """Show the best records, the best first.

    Args:
        name: The board.
        how: The options.
        count: How many, from 1 to 1,000.
        after: Begin behind this rank.
    """
    _show(how, name, lambda board: board.top(count, after=after))


@app.command
def around(name: str, id: str, how: AskingRanks = ASKING_RANKS, *, count: int = 5) -> None:  # noqa: A002
    """Show a record with its neighbours.

    Args:
        name: The board.
        id: The id of the record.
        how: The options.
        count: How many before it, and how many after it, from 1 to 500.
    """
    _show(how, name, lambda board: board.around(id, count))


@app.command
def seasons(name: str, how: Asking = ASKING) -> None:
    """List the seasons of a board, the newest first; the first one runs.

    Args:
        name: The board.
        how: The options.
    """
    with exit_codes():
        found, _ = asyncio.run(_asked(_config(how), name, "", lambda board: board.seasons()))
    if how.json:
        say_json(found)
        return
    for each in found:
        began, ended = (utc(None if moment is None else moment / 1e6) for moment in (each.began_us, each.ended_us))
        sys.stdout.write(f"{printable(each.name) or '(runs)'}  {began}  {ended}\n")


@app.command
def end(name: str, season: str, how: Asking = ASKING) -> None:
    """End the running season of a board under a name, and begin an empty one.

    Args:
        name: The board.
        season: The name of the season that ends.
        how: The options.
    """
    with exit_codes():
        asyncio.run(_asked(_config(how), name, "", lambda board: board.end_season(season)))
    if how.json:
        say_json({"board": name, "ended": season})
    else:
        sys.stdout.write(f"the season {printable(season)} of {name} has ended; --season shows it\n")


def _config(how: Asking) -> "Config":
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - as above

    return config_with(how.store)


def _show(how: AskingRanks, name: str, ask: "Callable[[Board], Awaitable[Sequence[Standing]]]") -> None:
    with exit_codes():
        standings, covers = asyncio.run(_asked(_config(how), name, how.season, ask))
    if how.json:
        say_json(standings)
        return
    for each in standings:
        rank = f"{each.rank:,}" if each.rank is not None else f"top {each.top_percent} %"
        sys.stdout.write(f"{rank:>9}  {each.score:>16,}  {printable(each.id)}\n")
    sys.stderr.write(f"{covers}\n" if standings else f"no such record, or nobody yet; {covers}\n")


async def _asked(config: "Config", name: str, season: str, ask: "Callable[[Board], Awaitable[T]]") -> tuple[T, str]:
    from realmkeep.keeping.boards.board import open_board  # noqa: PLC0415 - as above

    async with _source(config) as source:
        board = open_board(source, name, season)
        return await ask(board), board.covers


@asynccontextmanager
async def _source(config: "Config") -> "AsyncGenerator[BoardSource]":
    from realmkeep.clock import SystemClock  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.game import game_of  # noqa: PLC0415 - as above
    from realmkeep.operations.stored_boards import StoredBoards  # noqa: PLC0415 - as above
    from realmkeep.storage.beside import connect_beside  # noqa: PLC0415 - as above

    game, clock = game_of(config), SystemClock()  # the game's classes declare the boards
    if config.archive.url:
        from realmkeep.operations.archive.boards import ArchiveBoards  # noqa: PLC0415 - as above
        from realmkeep.storage.cold import open_cold_store  # noqa: PLC0415 - as above

        cold = open_cold_store(config.archive.url, clock=clock)
        try:
            await cold.connect()
            yield ArchiveBoards(cold, clock)
        finally:
            await cold.disconnect()
        return
    storage = await connect_beside(config.store.url, clock=clock)
    try:
        source = StoredBoards(storage, game, clock)
        yield source
        if source.unreadable:
            sys.stderr.write(f"{source.unreadable:,} records cannot be read: realmkeep keys check names them\n")
    finally:
        await storage.disconnect()
