"""Acts of an operator on a running keeper."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from realmkeep.errors import CommitPending, Misuse, ShuttingDown
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.live.op_ring import Receipt

if TYPE_CHECKING:
    from collections.abc import Callable

    from realmkeep.keeping.boards.board import BoardSource
    from realmkeep.keeping.keeper import Keeper
    from realmkeep.keeping.live.session import Session

T = TypeVar("T")

ADDRESS_CHARS_MAX: Final = 200  # as of `keeper.address`


def heal(keeper: Keeper) -> None:
    """Allow all live sessions to be written again, over a store that lost writes although it is set to lose none.

    It holds for the loss for which writing has stopped, and does nothing otherwise: a permission that nobody used would
    overwrite another store much later. The setting `keeper.heal` allows it in advance.
    """
    loss = engine_of(keeper).store_loss
    loss.allowed = loss.allowed or bool(loss.halted)


async def announce_address(keeper: Keeper, address: str) -> None:
    """Tell the realm where clients reach this server: `Directory` and `keeper.whereabouts` tell it from now on.

    For a server that knows it only once it listens; otherwise `keeper.address` of the settings says it from the start.

    Args:
        keeper: The keeper.
        address: Up to 200 printable characters of ASCII without blanks.

    Raises:
        Misuse: It is none.
        StorageError: The store cannot be reached; the next beat of the lease says it.
        TimeoutError: The store did not answer within a beat; as above.
    """
    if not (address.isascii() and address.isprintable() and " " not in address and len(address) <= ADDRESS_CHARS_MAX):
        raise Misuse(f"announce_address got {address!r:.80}", hint="pass up to 200 printable characters without blanks")
    lease = engine_of(keeper).lease
    lease.address = address
    await lease.announce()


def use_boards(keeper: Keeper, source: BoardSource) -> None:
    """Answer the questions of `keeper.board` from another source than the memory of this server."""
    engine_of(keeper).boards = source


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
