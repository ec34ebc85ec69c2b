"""The outcomes of commits in the words of the protocol."""

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
    (OpTooOld, "op_too_old", "this operation is older than the last 32; look at the state"),
    (OpReused, "op_reused", "this op_id belongs to another request; raise it with each operation"),
    (RateLimited, "rate_limited", "too many operations; wait a little"),
    (QueueFull, "busy", "nothing ran; try again in a moment"),
    (InboxFull, "inbox_full", "too much mail waits for that player; nothing was sent"),
    (NoSuchReceiver, "no_such_player", "there is no such player any more; nothing was sent"),
    (CommitRefused, "refused", "the operation did not happen; look at the state and try again"),
    (SessionFrozen, "frozen", "your player cannot be saved; an operator has to look"),
    (SessionEnded, "session_ended", "the session has ended; log in again"),
    (ShuttingDown, "shutting_down", "the server is shutting down"),
    (StorageError, "unavailable", "nothing can be stored now; try again later"),
)
"""The texts for players. The errors' own messages are for operators: they name keys, addresses and settings."""


class ActionUndecided(Exception):
    """The outcome of an operation is unknown for good: the store's answer was lost, or a bug of ours has hidden it."""


async def outcome(work: Awaitable[T], on_pending: Callable[[], object] = lambda: None) -> T:
    """The final outcome of a commit or of `settled`; `on_pending` is called if the store's answer takes long."""
    try:
        return await work
    except CommitPending as pending:
        on_pending()
        return cast("T", await pending.wait())


async def decided(work: Awaitable[T], lines: RateLimitedLog, on_pending: Callable[[], object] = lambda: None) -> T:
    """As `outcome`, with every error in the words of the protocol. The commit has happened if this returns.

    Args:
        work: The commit.
        lines: Logs unexpected errors, rate-limited because a client may cause them again and again.
        on_pending: Called if the store's answer takes long.

    Raises:
        ActionRefused: The commit did not happen; the reason is the protocol's.
        ActionUndecided: This server cannot tell whether the commit happened.
    """
    try:
        return await outcome(work, on_pending)
    except ActionRefused:
        raise
    except RealmkeepError as error:
        raise (ActionUndecided(error.message) if error.outcome == "unknown" else refusal(error, lines)) from error
    except Exception as error:
        lines.say(log.error, "an operation failed on an unexpected error", exc_info=error)
        raise ActionUndecided(repr(error)) from error  # so that the client gets an answer


def refusal(error: RealmkeepError, lines: RateLimitedLog) -> ActionRefused:
    """The refusal for the client of an operation that did not happen; an unexpected error is logged to `lines`."""
    for kind, reason, detail in _REASONS:
        if isinstance(error, kind):
            return ActionRefused(reason, detail)
    lines.say(log.error, "an operation failed", error=str(error))
    return ActionRefused("invalid", "the result cannot be stored; look at the state")


def auth_fail(reason: str, retry_after_s: float = 0.0) -> dict[str, Any]:
    """The answer to refused credentials."""
    answer: dict[str, Any] = {"type": "auth_fail", "reason": reason}
    if retry_after_s:
        answer["retry_after_s"] = round(retry_after_s, 3)
    return answer
