"""How a commit ended, in the words of the protocol."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

import structlog

from realmkeep.errors import (
    CommitPending,
    CommitRefused,
    OpReused,
    OpTooOld,
    QueueFull,
    RateLimited,
    RealmkeepError,
    SessionEnded,
    SessionFrozen,
    ShuttingDown,
    StorageError,
)
from realmkeep.realm.world.refused import Refused

T = TypeVar("T")
log = structlog.get_logger("realm.intents")

_REASONS: Final[tuple[tuple[type[RealmkeepError], str], ...]] = (
    (OpTooOld, "op_too_old"),
    (OpReused, "op_reused"),
    (RateLimited, "rate_limited"),
    (QueueFull, "busy"),
    (CommitRefused, "refused"),
    (SessionFrozen, "frozen"),
    (SessionEnded, "session_ended"),
    (ShuttingDown, "shutting_down"),
    (StorageError, "unavailable"),
)


class Undecided(Exception):
    """The store's answer was lost for good: neither yes nor no can be said of the operation."""


async def outcome(work: Awaitable[T], waits: Callable[[], object] = lambda: None) -> T:
    """The final outcome of a commit or of `settled`; `waits` is called if the store keeps us waiting."""
    try:
        return await work
    except CommitPending as pending:
        waits()
        return cast("T", await pending.wait())


async def decided(work: Awaitable[T], waits: Callable[[], object] = lambda: None) -> T:
    """As `outcome`, with every error in the words of the protocol. Only what returns has happened.

    Raises:
        Refused: It did not happen, and why.
        Undecided: Nobody can tell here whether it happened.
    """
    try:
        return await outcome(work, waits)
    except RealmkeepError as error:
        raise (Undecided(error.message) if error.outcome == "unknown" else refusal(error)) from error


def refusal(error: RealmkeepError) -> Refused:
    """What the client is told of an operation that did not happen."""
    reason = next((reason for kind, reason in _REASONS if isinstance(error, kind)), None)
    if reason is None:
        log.error("an operation failed", error=str(error))
        reason = "invalid"
    return Refused(reason, error.message)


def auth_fail(reason: str, retry_after_s: float = 0.0) -> dict[str, Any]:
    """The answer to credentials that were refused."""
    answer: dict[str, Any] = {"type": "auth_fail", "reason": reason}
    if retry_after_s:
        answer["retry_after_s"] = round(retry_after_s, 3)
    return answer
