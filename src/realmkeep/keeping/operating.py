"""Acts of an operator on a running keeper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar, cast

from realmkeep.errors import CommitPending, ShuttingDown
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.live.op_ring import Receipt

if TYPE_CHECKING:
    from collections.abc import Callable

    from realmkeep.keeping.keeper import Keeper
    from realmkeep.keeping.live.session import Session

T = TypeVar("T")


def heal(keeper: Keeper) -> None:
    """Allow all live sessions to be written again, over a store that lost writes although it is set to lose none.

    It holds for the loss for which writing has stopped, and does nothing otherwise: a permission that nobody used would
    overwrite another store much later. The setting `keeper.heal` allows it in advance.
    """
    loss = engine_of(keeper).store_loss
    loss.allowed = loss.allowed or bool(loss.halted)


async def commit_for_operator(keeper: Keeper, fn: Callable[[Any], T], session: Session[Any]) -> T:
    """As `keeper.commit` on one session, for an act of an operator: it spends nothing of the player's rate, and is patient.

    Args:
        keeper: The keeper.
        fn: As for `keeper.commit`; it may add guards and effects by `keeper.tx.add`.
        session: The session.

    Raises:
        ShuttingDown: The keeper is closing.
        RealmkeepError: As `keeper.commit`, without `RateLimited` and `CommitPending`.
    """
    engine = engine_of(keeper)
    if engine.sessions.closing:
        raise ShuttingDown(f"the keeper {engine.name} is closing", hint="ask another server")
    write, result = engine.commits.run(fn, [session], ())
    engine.counters.commits += 1
    try:
        receipt = await engine.commits.wait(write, Receipt(result, repeated=False))
    except CommitPending as pending:
        receipt = cast("Receipt[T]", await pending.wait())
    return receipt.result
