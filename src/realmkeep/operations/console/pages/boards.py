"""Boards: the records of a realm, ranked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from realmkeep.errors import ActRefused
from realmkeep.operations.console.forms import PAGES_MAX, act_id, asked, check_typed, done
from realmkeep.operations.operators.acts import new_act_id
from realmkeep.operations.operators.board_acts import end_season

if TYPE_CHECKING:
    from starlette.responses import Response

    from realmkeep.operations.console.visit import Visit

PAGE_ROWS: Final = 50
NEIGHBOURS: Final = 20


async def show_boards(visit: Visit) -> Response:
    """The boards that the game declares; the only one leads on."""
    boards = visit.desk.boards
    if len(boards) == 1:
        return visit.redirect("/boards/{}", next(iter(boards)))
    return visit.render("boards.html", title="Boards", boards=sorted(boards))


async def show_board(visit: Visit) -> Response:
    """The ranks of a board, fifty at a time or around one record, in the running season or one that has ended.

    Raises:
        ActRefused: The game declares no such board, or it has no such season.
        StorageError: The store cannot be reached.
    """
    desk, name, sought = visit.desk, _board(visit), asked(visit).text
    season, number = visit.request.query_params.get("season", ""), asked(visit).number
    seasons = await desk.keeper.board(name).seasons()
    if season and season not in {each.name for each in seasons}:
        raise ActRefused(f"the board {name} has no season {season!r:.80}", hint="choose one of the list")
    board = desk.keeper.board(name, season=season)
    if sought:
        rows = await board.around(sought, NEIGHBOURS)
    else:
        rows = await board.top(PAGE_ROWS + 1, after=number * PAGE_ROWS)
    return visit.render(
        "board.html",
        title=name,
        board=name,
        boards=sorted(desk.boards),
        covers=board.covers,
        season=season,
        seasons=seasons,
        rows=rows[:PAGE_ROWS],
        number=number,
        more=not sought and len(rows) > PAGE_ROWS and number < PAGES_MAX,
        sought=sought,
        act_id=new_act_id(),
        of_players=desk.boards[name],
    )


async def end(visit: Visit) -> Response:
    """End the running season of a board.

    Raises:
        OperatorError: As all acts.
        AuthFailed: The operator's password is wrong.
        StorageError: The store or the boards cannot be reached.
    """
    form, name = await visit.form(), _board(visit)
    check_typed(form, name)
    await visit.check_password(form)
    season = form.get("season", "")
    outcome = await end_season(
        visit.desk.keeper, visit.by, name, season, reason=form.get("reason", ""), act_id=act_id(form)
    )
    return done(visit, f"the season {season} has ended", outcome, "/boards/{}", name)


def _board(visit: Visit) -> str:
    """The board of the address.

    Raises:
        ActRefused: The game declares no such board.
    """
    name = visit.request.path_params["board"]
    if name not in visit.desk.boards:
        raise ActRefused(f"the game declares no board {name!r:.80}", hint="a field has durable(ranked=...)")
    return name
