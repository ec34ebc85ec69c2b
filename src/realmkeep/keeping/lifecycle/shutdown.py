"""The shutdown: accept nothing new, save and release every record; states that cannot be saved go to the rescue file."""

from __future__ import annotations

import asyncio
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep.errors import KeepingError, RecordError, StorageError
from realmkeep.keeping.live.session_states import SessionEvent, SessionState
from realmkeep.keeping.ownership.lease import LeaseState
from realmkeep.keeping.recovery.former_rescues import locked
from realmkeep.keeping.recovery.rescue_file import Undelivered, Unsavable, append_lines, encode_line, readable
from realmkeep.keeping.writing.staging import created_or_deleted
from realmkeep.records import unknown_fields
from realmkeep.storage import Transaction

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from realmkeep.clock import Clock
    from realmkeep.keeping.lifecycle.engine import Engine
    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.recovery.rescue import LeftBehind
    from realmkeep.keeping.writing.staging import StagedWrite
    from realmkeep.storage import Storage

log = logging.getLogger(__name__)

RESCUE_FILE: Final = Path("rescue.jsonl")
NOWHERE: Final = Path(os.devnull)  # for no file; it can neither be fsynced nor cut off
NOT_TAKEN: Final = "the store did not take it in time"
UNANSWERED: Final = "the store did not answer in time, so it may have it"
STEP_S_MIN: Final = 1.0  # for a step whose turn comes when the deadline has nearly passed: one answer of a slow store


@dataclass(frozen=True)
class CloseReport:
    """How a keeper ended.

    Attributes:
        released: Sessions with a durable final snapshot; their records are free.
        rescued: The keys of records with a last state that could not be saved; the missing writes stand in `rescue_path`,
            for `restore_rescued`.
        rescue_path: Where; None if nothing had to be rescued, or if it could not be written: then the log has it all.
        left: Records of an earlier shutdown that could not be delivered at the start either: they stand in the file until
            an operator has settled them and moved the file away.
    """

    released: int
    rescued: tuple[str, ...]
    rescue_path: Path | None
    left: tuple[LeftBehind, ...] = ()

    @property
    def clean(self) -> bool:
        """Everything was saved, in this run and before: a server may exit with zero."""
        return not self.rescued and not self.left


async def close_engine(engine: Engine, deadline_s: float | None, rescue_path: Path) -> CloseReport:
    """Release every session, drop the name, take a snapshot; rescue the states that could not be saved in time.

    Each step stands on its own: the name is given back even if the store could not be flushed, and a store that refuses
    snapshots still ends cleanly.
    """
    engine.sessions.closing = True
    sessions = list(engine.sessions.live())
    ending = _StepsWithinDeadline(
        engine.clock, deadline_s if deadline_s is not None else engine.config.shutdown_deadline_s
    )
    if await ending.step("not everything was saved", _save(engine, sessions)):
        flushed = await ending.step("the store was not flushed", engine.storage.flush())
        await ending.step("the name stays taken for one lease", engine.lease.drop_name(), level=logging.WARNING)
        if flushed and engine.lease.state is not LeaseState.REPLACED:
            await ending.step("other servers may wait for this one", engine.barrier.withdraw(), level=logging.WARNING)
        await ending.step("the store took no snapshot", engine.storage.snapshot(), level=logging.WARNING)
    released = len([session for session in sessions if session.state is SessionState.ENDED])
    left = list(engine.sessions.live())
    rescued = _undelivered(engine, left)
    keys = dict.fromkeys(session.keys.record for session in left)
    for each in rescued:
        keys.update(dict.fromkeys(each.records if isinstance(each, Undelivered) else [each.record]))
    abandon_engine(engine)
    await engine.background.stop()
    left_before = engine.former.still_left()
    path: Path | None = rescue_path if rescued else None
    if rescued and rescue_path != NOWHERE:
        path = await _rescue(rescued, tuple(keys), rescue_path, engine.clock)
    return CloseReport(released, tuple(keys), path, left_before)


def abandon_engine(engine: Engine) -> None:
    """Forget everything without saving, as a crash does."""
    engine.sessions.closing = True
    engine.queue.abandon()
    engine.lease.forget_name()
    engine.background.cancel()
    for entry in engine.sessions.entering.values():
        entry.cancel()
    for session in list(engine.sessions.live()):
        engine.sessions.dismiss(session, SessionEvent.ABANDONED)


class _StepsWithinDeadline:
    """The steps of an ending, within one deadline; none of them cancels the next.

    Args:
        clock: Time.
        deadline_s: Seconds for all of them.
    """

    def __init__(self, clock: Clock, deadline_s: float) -> None:
        self._clock = clock
        self._ends_s = clock.monotonic_s() + deadline_s

    async def step(self, otherwise: str, doing: Awaitable[None], *, level: int = logging.CRITICAL) -> bool:
        """Whether it was done; if not, the log has the consequence and the reason."""
        left_s = self._ends_s - self._clock.monotonic_s()
        try:
            async with self._clock.timeout(max(left_s, STEP_S_MIN)):
                await doing
        except TimeoutError:
            log.log(level, "%s: the deadline passed", otherwise)
        except StorageError as error:
            log.log(level, "%s: %s", otherwise, error)
        except Exception:
            log.critical("%s: a defect", otherwise, exc_info=True)
        else:
            return True
        return False


async def disconnect_storage(storage: Storage) -> None:
    """Disconnect from the store at the very end. An error is only logged, because every write is acknowledged by then."""
    try:
        await storage.disconnect()
    except (StorageError, OSError) as error:
        log.error("the store was not let go of: %s", error)


async def _save(engine: Engine, sessions: Sequence[Session[Any]]) -> None:
    """Return when every write of this keeper is acknowledged."""
    await _release_all(engine, sessions)
    if engine.sessions.entering:
        await asyncio.wait(engine.sessions.entering.values())  # each lets go of what it brought
    await engine.queue.drained()


async def _release_all(engine: Engine, sessions: Sequence[Session[Any]]) -> None:
    """Release in slices: a release queues at once and waits for the store together with the others."""

    async def release(session: Session[Any]) -> None:
        if session.state is SessionState.LEAVING:
            return  # its release is under way; `drained` waits for that
        try:
            await engine.exit.release(session, patient=True)
        except (KeepingError, RecordError) as error:
            log.error("%s was not released: %s", session.keys.record, error)
        except Exception:
            log.exception("%s was not released", session.keys.record)  # the others are; this one is rescued

    waiting: list[asyncio.Task[None]] = []
    for session in sessions:
        await engine.queue.room(engine.config.queue_max)
        waiting.append(asyncio.get_running_loop().create_task(release(session)))
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)


def _undelivered(engine: Engine, left: Sequence[Session[Any]]) -> list[Undelivered | Unsavable]:
    """The writes that the store is not known to have, in the order of the queue; every live session ends with its release."""
    writes, store_id = engine.queue.abandon(), engine.store_loss.store_id.decode(errors="replace")
    leaving = {member.session for write in writes if write.releases for member in write.members}
    unsavable: list[Unsavable] = []
    for session in left:
        if session in leaving:
            continue
        try:
            now_us, now_s = engine.clock.wall_us(), engine.clock.monotonic_s()
            writes.append(engine.stager.alone(session, now_us=now_us, queued_s=now_s, releases=True))
        except Exception as error:  # noqa: BLE001 - whatever one record does, the others get into the file
            unsavable.append(_unsavable(session, error, store_id))
    return [*(_of(write, store_id) for write in writes if write.transaction.effects), *unsavable]


def _of(write: StagedWrite, store_id: str) -> Undelivered:
    records = [*(member.session.keys.record for member in write.members), *created_or_deleted(write)]
    letters_to = dict.fromkeys(receiver.record for receiver in write.receivers)
    why = UNANSWERED if write.maybe_applied else NOT_TAKEN
    sent = write.transaction
    transaction = Transaction(sent.guards, sent.effects, sent.needs)
    return Undelivered(transaction, tuple(dict.fromkeys(records)), tuple(letters_to), why, store_id)


def _unsavable(session: Session[Any], error: Exception, store_id: str) -> Unsavable:
    return Unsavable(
        record=session.keys.record,
        why=str(error),
        owner=session.claim.decode(errors="replace"),
        durable_revision=session.durable_revision,
        version=session.version,
        state=readable({**msgspec.structs.asdict(session.record), **unknown_fields(session.record)}),
        ops=session.ring.encode().decode(),
        store_id=store_id,
    )


async def _rescue(
    rescued: Sequence[Undelivered | Unsavable], keys: Sequence[str], path: Path, clock: Clock
) -> Path | None:
    """Append it to the file.

    If the file cannot be written, every line goes into the log, the last place left and often on another disk; None then.
    """
    try:
        async with locked(path.parent, clock):
            await asyncio.to_thread(append_lines, path, rescued)
    except OSError as error:
        log.critical("%s cannot be written, so its lines follow here: %s", path, error)
        for each in rescued:
            log.critical("rescue line: %s", encode_line(each).decode())
        return None
    for key in keys:
        log.critical("%s is not saved; what the store lacks of it is in %s", key, path)
    return path
