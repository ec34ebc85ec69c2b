"""The answer to a client's operation: the handler that every game would write."""

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
BUGS: Final = (Misuse, TierViolation, DefinitionError, InvalidKey)  # in the game's code: no answers for a client


@dataclass(frozen=True)
class Ack(Generic[T_co]):
    """The operation has happened and is durable: tell the client.

    Attributes:
        result: The result of the commit's function; of a repeated operation the recorded result, as plain JSON values.
        repeated: The operation had been applied before; nothing ran.
    """

    result: T_co
    repeated: bool


@dataclass(frozen=True)
class Rejected:
    """The operation has not happened: tell the client no, and why.

    Attributes:
        error: The reason; `retryable` says that the same request may succeed later.
    """

    error: RealmkeepError


@dataclass(frozen=True)
class Undecided:
    """Ownership was lost before the store answered: close the connection. The client repeats it at another server.

    Attributes:
        error: The error that names the lost record.
    """

    error: RealmkeepError


@dataclass(frozen=True)
class Pending(Generic[T_co]):
    """The store has not answered yet, and the operation goes on: tell the client to wait.

    Attributes:
        error: The error of the commit; it says how long the store has not answered.
    """

    error: CommitPending

    async def wait(self) -> Ack[T_co] | Rejected | Undecided:
        """The final answer; waits without a limit."""
        return cast(
            "Ack[T_co] | Rejected | Undecided", await _told(cast("Awaitable[Receipt[T_co]]", self.error.wait()))
        )


Answer: TypeAlias = Ack[T] | Rejected | Pending[T] | Undecided


async def answer(session: Session[Any], op: Op, act: Callable[[], Awaitable[Receipt[T]]]) -> Answer[T]:
    """Answer a client's operation: with the recorded result if it was applied before, else with the result of `act`.

    So a repeated operation is not decided again: a killing blow does not look for its victim a second time, after the
    victim has risen.

    ```python
    match await answer(ada, op, lambda: keeper.commit(pay, ada, bob, ops=(op, None))):
        case Ack(gold): ...
    ```

    Args:
        session: The client's own.
        op: The operation, in the place of this session in the `ops` of the commit that `act` makes.
        act: Decides, and returns the commit; it is called only if the operation was not applied before. An error that is
            no `RealmkeepError` passes through: the game's own refusals.

    Returns:
        `Ack`, `Rejected`, `Pending` or `Undecided`; for a repeated operation it waits until the write has ended.

    Raises:
        Misuse: `act` is no function, or its result cannot be awaited; or another bug of the game.
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
    """The answer for the result or the error of `work`; None if it returned None."""
    try:
        receipt = await work
    except CommitPending as pending:
        return Pending(pending)
    except BUGS:
        raise
    except RealmkeepError as error:
        return Undecided(error) if error.outcome == "unknown" else Rejected(error)
    return None if receipt is None else Ack(receipt.result, receipt.repeated)
