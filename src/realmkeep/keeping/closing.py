"""The shutdown: accept nothing new, save everything, snapshot, release; and what becomes of what cannot be saved."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep.errors import KeepingError, RecordError, StorageError
from realmkeep.keeping.session import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep.keeping.engine import Engine
    from realmkeep.keeping.session import Session

log = logging.getLogger(__name__)

RESCUE_FILE: Final = "rescue.jsonl"


@dataclass(frozen=True)
class CloseReport:
    """How a keeper ended.

    Attributes:
        released: Sessions whose final snapshot is durable and whose record is free.
        rescued: The keys of records whose last state could not be saved; it stands in `rescue_path` instead.
        rescue_path: Where; None if nothing had to be rescued, or if it could not be written: then the log has it all.
    """

    released: int
    rescued: tuple[str, ...]
    rescue_path: Path | None

    @property
    def clean(self) -> bool:
        """Everything was saved: a server may exit with zero."""
        return not self.rescued


async def close(engine: Engine, deadline_s: float | None, rescue_path: Path | None) -> CloseReport:
    """Release every session, take a snapshot, drop the name; rescue what could not be saved in time."""
    engine.closing = True
    sessions = list(engine.sessions.values())
    try:
        async with engine.clock.timeout(deadline_s if deadline_s is not None else engine.config.shutdown_deadline_s):
            await _release_all(engine, sessions)
            if engine.entering:
                await asyncio.wait(engine.entering.values())  # each lets go of what it brought
            await engine.queue.drained()
            await engine.storage.flush()
            await engine.storage.snapshot()
            await engine.lease.drop()
    except (TimeoutError, StorageError) as error:
        log.critical("the keeper could not close cleanly: %s", str(error) or "the deadline passed")
    left = list(engine.sessions.values())
    released = len([session for session in sessions if session.state is State.ENDED])
    path = await asyncio.to_thread(_rescue, left, rescue_path or Path(RESCUE_FILE)) if left else None
    engine.abandon()
    await engine.stop()
    return CloseReport(released, tuple(session.keys.record for session in left), path)


async def _release_all(engine: Engine, sessions: Sequence[Session[Any]]) -> None:
    """Release in slices: a release queues at once and waits for the store together with the others."""

    async def release(session: Session[Any]) -> None:
        if session.state is State.LEAVING:
            return  # somebody else released it; `drained` waits for that
        try:
            await engine.release(session, patient=True)
        except (KeepingError, RecordError) as error:
            log.error("%s was not released: %s", session.keys.record, error)

    waiting: list[asyncio.Task[None]] = []
    for session in sessions:
        await engine.queue.room(engine.config.queue_max)
        waiting.append(asyncio.get_running_loop().create_task(release(session)))
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)


def _rescue(sessions: Sequence[Session[Any]], path: Path) -> Path | None:
    """Append the last state of each session as one JSON line, whether or not it could be stored.

    What the file cannot take goes into the log whole: that is the last place left, and often on another disk. None then.
    """
    lines = {session.keys.record: _rescue_line(session) for session in sessions}
    try:
        _append_durably(path, b"".join(line + b"\n" for line in lines.values()))
    except OSError as error:
        log.critical("%s cannot be written, so the last states follow here: %s", path, error)
        for key, line in lines.items():
            log.critical("%s is not saved; its last state is %s", key, line.decode())
        return None
    for key in lines:
        log.critical("%s is not saved; its last state is in %s", key, path)
    return path


def _rescue_line(session: Session[Any]) -> bytes:
    line = {
        "key": session.keys.record,
        "owner": base64.b64encode(session.owner_guard.expected or b"").decode(),
        "durable_revision": session.durable_revision,
        "version": session.record.__realmkeep__.version,
        "why": session.frozen or "the store did not take it in time",
        "state": msgspec.structs.asdict(session.record),
        "ops": session.ring.encode().decode(),
    }
    return msgspec.json.encode(line, enc_hook=repr)


def _append_durably(path: Path, lines: bytes) -> None:
    """All of it or nothing: half a line would spoil the next one."""
    with path.open("ab", buffering=0) as file:
        end = file.tell()
        try:
            while lines:
                lines = lines[file.write(lines) :]
            os.fsync(file.fileno())
        except OSError:
            file.truncate(end)
            raise
