"""What to tell a client of the operation it asked for: the handler that every game would write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypeVar, cast

from realmkeep.callables import discard
from realmkeep.errors import CommitPending, DefinitionError, InvalidKey, Misuse, RealmkeepError, TierViolation
from realmkeep.keeping.live.arguments import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from realmkeep.keeping.live.op_ring import Op, Receipt
    from realmkeep.keeping.live.session import Session

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

HINT: Final = "pass an `async def` that returns the commit's receipt, or `lambda: keeper.commit(...)`"

BUGS: Final = (Misuse, TierViolation, DefinitionError, InvalidKey)  # of the game; no client can do anything about them


@dataclass(frozen=True)
class Ack(Generic[T_co]):
    """It has happened, and is durable: tell the client.

    Attributes:
        result: What the commit's function returned; of a repeated operation what was recorded, as plain JSON values.
        repeated: The operation had been applied before; nothing ran.
    """

    result: T_co
    repeated: bool


@dataclass(frozen=True)
class Refused:
    """It has not happened: tell the client no, and why.

    Attributes:
        error: Why not; `retryable` says that the same request may succeed later.
    """

    error: RealmkeepError


@dataclass(frozen=True)
class Undecided:
    """Ownership was lost before the store answered: close the connection. The client sends the operation again elsewhere.

    Attributes:
        error: What was lost.
    """

    error: RealmkeepError


@dataclass(frozen=True)
class Pending(Generic[T_co]):
    """The store has not answered yet, and the operation goes on: tell the client to wait.

    Attributes:
        error: How long it has not.
    """

    error: CommitPending

    async def wait(self) -> Ack[T_co] | Refused | Undecided:
        """How it ended, however long that takes."""
        return cast("Ack[T_co] | Refused | Undecided", await _told(cast("Awaitable[Receipt[T_co]]", self.error.wait())))


Answer: TypeAlias = Ack[T] | Refused | Pending[T] | Undecided


async def answer(session: Session[Any], op: Op, act: Callable[[], Awaitable[Receipt[T]]]) -> Answer[T]:
    """Answer a client's operation: with what was recorded if it was applied before, else with what `act` makes of it.

    So nothing is decided anew for an operation that is sent again: a killing blow does not look for its victim, which has
    risen since.

    ```python
    match await answer(ada, op, lambda: keeper.commit(pay, ada, bob, ops=(op, None))):
        case Ack(gold): ...
    ```

    Args:
        session: The client's own.
        op: The operation, in the place of this session in the `ops` of the commit that `act` makes.
        act: Decides, and returns the commit; it is called only if the operation was not applied before. What it raises
            that is no `RealmkeepError` passes through: the game's own refusals.

    Returns:
        `Ack`, `Refused`, `Pending` or `Undecided`; an operation whose write is on its way is waited for.

    Raises:
        Misuse: `act` is no function, or what it returned cannot be awaited; or another bug of the game.
        TierViolation, DefinitionError, InvalidKey: A bug of the game.
    """
    if not callable(cast("object", act)):
        discard(act)
        raise Misuse(f"answer got {shown(act)}", hint=HINT)
    if (told := await _told(session.recall(op))) is not None:
        return told
    work = act()
    if not hasattr(work, "__await__"):
        raise Misuse(f"the function given to answer returned {shown(work)}", hint=HINT)
    return cast("Answer[T]", await _told(work))


async def _told(work: Awaitable[Receipt[T] | None]) -> Answer[T] | None:
    """How `work` ended; None if it came back with nothing."""
    try:
        receipt = await work
    except CommitPending as pending:
        return Pending(pending)
    except BUGS:
        raise
    except RealmkeepError as error:
        return Undecided(error) if error.outcome == "unknown" else Refused(error)
    return None if receipt is None else Ack(receipt.result, receipt.repeated)
