"""How a commit ended, in the words of the protocol."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar, cast

import structlog

from realmkeep.errors import (
    CommitPending,
    CommitRefused,
    InboxFull,
    NoSuchReceiver,
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
from realmkeep.rate_limited_log import RateLimitedLog
from realmkeep.realm.world.action_refused import ActionRefused

T = TypeVar("T")
log = structlog.get_logger("realm.intents")

_REASONS: Final[tuple[tuple[type[RealmkeepError], str, str], ...]] = (
    (OpTooOld, "op_too_old", "this operation lies below the last 32; look at the state"),
    (OpReused, "op_reused", "this op_id was another request; raise it with each operation"),
    (RateLimited, "rate_limited", "too many operations; wait a little"),
    (QueueFull, "busy", "nothing ran; try again in a moment"),
    (InboxFull, "inbox_full", "too much mail waits there; nothing was sent"),
    (NoSuchReceiver, "no_such_player", "there is no such player any more; nothing was sent"),
    (CommitRefused, "refused", "it did not happen; look at the state and try again"),
    (SessionFrozen, "frozen", "your player cannot be saved; an operator has to look"),
    (SessionEnded, "session_ended", "the session has ended; log in again"),
    (ShuttingDown, "shutting_down", "the server is shutting down"),
    (StorageError, "unavailable", "nothing can be stored now; try again later"),
)
"""What a player hears. The errors' own words are the operator's: they name keys, addresses and settings."""


class Undecided(Exception):
    """The store's answer was lost for good: neither yes nor no can be said of the operation."""


async def outcome(work: Awaitable[T], waits: Callable[[], object] = lambda: None) -> T:
    """The final outcome of a commit or of `settled`; `waits` is called if the store keeps us waiting."""
    try:
        return await work
    except CommitPending as pending:
        waits()
        return cast("T", await pending.wait())


async def decided(work: Awaitable[T], lines: RateLimitedLog, waits: Callable[[], object] = lambda: None) -> T:
    """As `outcome`, with every error in the words of the protocol. Only what returns has happened.

    Args:
        work: The commit.
        lines: What is logged of errors that nobody foresaw: a client may cause them again and again.
        waits: Called if the store keeps us waiting.

    Raises:
        ActionRefused: It did not happen, and why.
        Undecided: Nobody can tell here whether it happened.
    """
    try:
        return await outcome(work, waits)
    except ActionRefused:
        raise
    except RealmkeepError as error:
        raise (Undecided(error.message) if error.outcome == "unknown" else refusal(error, lines)) from error
    except Exception as error:
        lines.say(log.error, "an operation failed as none should", exc_info=error)
        raise Undecided(repr(error)) from error  # whoever asked is answered all the same


def refusal(error: RealmkeepError, lines: RateLimitedLog) -> ActionRefused:
    """What the client is told of an operation that did not happen; `lines` is what the operator is told."""
    for kind, reason, detail in _REASONS:
        if isinstance(error, kind):
            return ActionRefused(reason, detail)
    lines.say(log.error, "an operation failed", error=str(error))
    return ActionRefused("invalid", "your player cannot be stored so; look at the state")


def auth_fail(reason: str, retry_after_s: float = 0.0) -> dict[str, Any]:
    """The answer to credentials that were refused."""
    answer: dict[str, Any] = {"type": "auth_fail", "reason": reason}
    if retry_after_s:
        answer["retry_after_s"] = round(retry_after_s, 3)
    return answer
