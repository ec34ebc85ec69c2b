"""A drain: the server tells the realm that it goes, lets nobody in, and lets go of its players one after another."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from realmkeep.errors import KeepingError, RealmkeepError, RecordError
from realmkeep.keeping.live.session_states import SessionState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep.keeping.lifecycle.engine import Engine
    from realmkeep.keeping.live.session import Session

log = logging.getLogger(__name__)

SHARE_OF_DEADLINE: Final = 0.5  # for the releases; a store that is away leaves the other half to the shutdown


class Drained(NamedTuple):
    """The outcome of a drain.

    Attributes:
        released: The sessions that it released.
        left_s: Seconds of its deadline that are left for the shutdown.
    """

    released: int
    left_s: float


async def drain_sessions(engine: Engine, to: str, per_s: float | None, deadline_s: float | None) -> Drained:
    """Release every session of a keeper that stays open.

    Players go first, then shared records: their last changes may concern each other. A session that cannot be released is
    left to the shutdown. A shutdown that begins meanwhile takes over the rest.

    Args:
        engine: The keeper.
        to: The server to which players are sent; empty if any will do.
        per_s: Most sessions in a second; None: as many as the store takes.
        deadline_s: Seconds for drain and shutdown, without those that the pace takes; None: that of a shutdown.
    """
    clock = engine.clock
    within_s = engine.config.shutdown_deadline_s if deadline_s is None else deadline_s
    engine.sessions.draining, engine.sessions.drains_to = True, to
    log.info("%s drains; %d sessions", engine.name, len(engine.sessions))
    begun_s = clock.monotonic_s()
    sessions = sorted(engine.sessions.live(), key=lambda session: session.shared)
    pace_s = 0.0 if per_s is None else len(sessions) / per_s
    leaving: list[asyncio.Task[bool]] = []
    try:
        async with clock.timeout(pace_s + within_s * SHARE_OF_DEADLINE):
            await _announce(engine)
            await _release_all(engine, sessions, to, per_s, leaving)
    except TimeoutError:
        log.warning("%s has not released everything in time; the shutdown goes on with it", engine.name)
    for each in leaving:
        each.cancel()  # those that are not done: their releases go on without them
    released = [each for each in await asyncio.gather(*leaving, return_exceptions=True) if each is True]
    return Drained(len(released), within_s - max(0.0, clock.monotonic_s() - begun_s - pace_s))


async def _announce(engine: Engine) -> None:
    try:
        await engine.lease.announce()
    except (RealmkeepError, TimeoutError) as error:  # the next beat says it
        log.warning("other servers do not know yet that %s drains: %s", engine.name, error or "no answer in time")


async def _release_all(
    engine: Engine, sessions: Sequence[Session[Any]], to: str, per_s: float | None, leaving: list[asyncio.Task[bool]]
) -> None:
    clock = engine.clock
    begun_s = clock.monotonic_s()
    if engine.sessions.entering:
        await asyncio.wait(engine.sessions.entering.values())  # each lets go of what it brought
    for number, session in enumerate(sessions):
        await engine.queue.room(engine.config.queue_max)
        if per_s is not None:
            await clock.sleep(max(0.0, begun_s + number / per_s - clock.monotonic_s()))
        if engine.sessions.closing:
            break
        leaving.append(asyncio.get_running_loop().create_task(_let_go(engine, session, to)))
        await asyncio.sleep(0)
    if leaving:
        await asyncio.wait(leaving)


async def _let_go(engine: Engine, session: Session[Any], to: str) -> bool:
    """Run the game's function for the drain, and release the session; whether it was released."""
    if session.borrowers or not session.writable:
        return False  # its borrower, or its own release, ends it
    engine.hooks.run("drain", session.cls, session, to)
    if session.writable:
        try:
            await engine.exit.release(session, patient=True)
        except (KeepingError, RecordError) as error:
            log.error("%s was not released: %s", session.keys.record, error)
        except Exception:
            log.exception("%s was not released", session.keys.record)  # the others are; the shutdown rescues this one
    return session.state is SessionState.ENDED
