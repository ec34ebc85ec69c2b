"""The act of operators on boards: the end of a season."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep.errors import ActRefused
from realmkeep.keeping.keeper import engine_of
from realmkeep.operations.operators.acts import new_act_id
from realmkeep.operations.operators.orders import Order, OrderBook, Outcome, checked_reason
from realmkeep.operations.operators.roles import check_grant

if TYPE_CHECKING:
    from realmkeep import Keeper
    from realmkeep.operations.operators.operator import Operator


async def end_season(
    keeper: Keeper, by: Operator, board: str, season: str, *, reason: str, act_id: str = ""
) -> Outcome:
    """End the running season of a board under a name, and begin an empty one; then note it in the audit trail.

    Args:
        keeper: The keeper of a game server.
        by: The operator.
        board: The board.
        season: The name of the season that ends: 1 to 40 printable characters.
        reason: For the audit trail.
        act_id: The id of the act; empty for a new one.

    Raises:
        NotGranted, OpReused: As all acts.
        ActRefused: The name is empty, too long, or that of an earlier season; or there is no reason.
        StorageError: The store or the boards cannot be reached. The season may have ended; its entry is missing then.
    """
    check_grant(by, "end-season")
    name, engine = season.strip(), engine_of(keeper)
    order = Order(
        act_id=act_id or new_act_id(),
        act="end-season",
        operator=by.name,
        role=by.role,
        target=f"board:{board}",
        reason=checked_reason(reason),
        details={"season": name},
    )
    book = OrderBook(engine.storage, engine.clock, keeper.name)
    found = await book.look(order)
    if isinstance(found, Outcome):
        return found.require()
    if not 1 <= len(name) <= 40 or not name.isprintable():
        raise ActRefused("a season needs a name", hint="1 to 40 printable characters")
    if name in {each.name for each in await keeper.board(board).seasons()}:
        raise ActRefused(f"the board {board} had a season {name!r} before", hint="take another name")
    await keeper.board(board).end_season(name)
    return await book.write(order, order.details, [])
