"""A commit of a game: the player's rate, an operation that is repeated, and the wait for the store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from realmkeep.errors import RateLimited
from realmkeep.keeping.live.arguments import check_commit
from realmkeep.keeping.live.op_ring import Receipt
from realmkeep.keeping.live.rate_limit import CommitRateLimiter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realmkeep.keeping.lifecycle.engine import Engine
    from realmkeep.keeping.lifecycle.entering import SessionEntry
    from realmkeep.keeping.live.op_ring import Op
    from realmkeep.keeping.live.session import Session

T = TypeVar("T")


class CommitEntry:
    """Lets commits in, as `Keeper.commit` promises.

    Args:
        engine: The keeper's rooms.
        entry: It refuses while the keeper closes.
    """

    def __init__(self, engine: Engine, entry: SessionEntry) -> None:
        self._engine = engine
        self._entry = entry

    async def commit(
        self, fn: Callable[..., T], sessions: Sequence[Session[Any]], ops: Sequence[Op | None]
    ) -> Receipt[T]:
        """As `Keeper.commit`.

        Raises:
            RealmkeepError: As `Keeper.commit`.
        """
        engine, commits = self._engine, self._engine.commits
        check_commit(fn, sessions, ops, engine.calls)
        if ops and (known := commits.repeated(sessions, ops)) is not None:
            return await commits.repeat(*known)  # also while closing: it is durable, so the client must get its result
        self._entry.check_open()
        first = sessions[0]
        if not first.shared:
            if (bucket := first.limiter) is None:
                bucket = first.limiter = CommitRateLimiter()
            if not bucket.take_now(engine.clock.monotonic_s(), engine.config.tier1_rate_per_s):
                try:
                    await bucket.wait_turn(engine.clock, engine.config, first.keys.record)
                except RateLimited:
                    engine.counters.rate_limited += 1
                    raise
                self._entry.check_open()
                if ops and (known := commits.repeated(sessions, ops)) is not None:
                    return await commits.repeat(*known)
        try:
            write, result = commits.run(fn, sessions, ops)
        except Exception as error:
            engine.counters.note_refusal(error)
            raise
        engine.counters.commits += 1
        return await commits.wait(write, Receipt(result, repeated=False))
