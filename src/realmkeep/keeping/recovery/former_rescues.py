"""The delivery of an earlier shutdown's rescue file, before any login.

A supervisor restarts a server, and the server finds the rescue file of its former run. A record that was claimed first would
go on from the older state in the store, and the file would be worth nothing. So the file is delivered first, or the server
does not start.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import sys
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from realmkeep.errors import Corrupt, RescueNotDelivered, StorageError
from realmkeep.files import open_for_append, open_private, open_trusted, sync_directory
from realmkeep.keeping.recovery.rescue import LeftBehind, restore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from realmkeep.clock import Clock
    from realmkeep.keeping.recovery.rescue import Restored
    from realmkeep.storage import Storage

if sys.platform != "win32":
    import fcntl

    def _is_ours(descriptor: int) -> bool:
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False


log = logging.getLogger(__name__)

LOCK_S_MAX: Final = 30.0  # a shutdown that writes, or a start that delivers, takes less
LOCK_POLL_S: Final = 0.05


class Former(NamedTuple):
    """The part of an earlier run's rescue file that still has to be settled.

    Attributes:
        path: The file.
        left: The undelivered records and lines: they stand in the file until an operator has settled them.
        foreign: The number of lines for another store.
        stuck: The reason for which a delivered file could not be moved; empty if there is none.
    """

    path: Path
    left: tuple[LeftBehind, ...] = ()
    foreign: int = 0
    stuck: str = ""

    def still_left(self) -> tuple[LeftBehind, ...]:
        """As `left`; empty once the operator has settled it, which is to say moved the file away."""
        return self.left if self.left and _is_there_still(self.path) else ()

    def reasons(self) -> list[str]:
        """One sentence for each matter that an operator has to settle; none once the file is gone."""
        told: list[str] = []
        if left := self.still_left():
            told.append(
                f"{len(left)} records or lines of an earlier shutdown are not delivered, first {left[0].record} in line "
                f"{left[0].line}: {left[0].why}; `realmkeep store rescue {self.path}` names them; settle it, and move the file away"
            )
        if self.foreign and _is_there_still(self.path):
            told.append(f"{self.path} holds {self.foreign} lines of another store: move them away, or use that store")
        if self.stuck and _is_there_still(self.path):
            told.append(f"{self.path} was delivered, and cannot be moved away: {self.stuck}")
        return told


async def deliver_former(storage: Storage, path: Path, store_id: str, clock: Clock) -> Former:
    """Deliver the lines of a rescue file that were meant for this store, and move them aside; the others stay.

    Each line happens once, wherever a crash interrupts this: the guards of a line refuse it the second time, and it is moved
    only when it is durable.

    Args:
        storage: Connected.
        path: The file; it need not exist.
        store_id: Names the store.
        clock: Time.

    Raises:
        RescueNotDelivered: The file cannot be read, or the store does not take a line; delivered lines stay delivered.
    """
    try:
        if not _lies_there(path):
            return Former(path)
        log.warning("%s holds what an earlier shutdown could not save; it is delivered before anybody is let in", path)
        async with locked(path.parent, clock):
            if not _lies_there(path):  # another server of this directory has delivered it meanwhile
                return Former(path)
            restored = await restore(storage, path, store_id)
            return await _put_away(restored, path, clock)
    except (Corrupt, StorageError, OSError) as error:
        raise RescueNotDelivered(
            f"{path}, which an earlier shutdown left, is not delivered: {error}",
            hint=f"nobody is let in before it is: `realmkeep store rescue {path}` says what is wrong; "
            "mend or move the file, and start again",
        ) from error


async def _put_away(restored: Restored, path: Path, clock: Clock) -> Former:
    for each in restored.left:
        log.critical("%s, line %d: %s is not delivered: %s", path, each.line, each.record, each.why)
    at = datetime.fromtimestamp(clock.wall_us() / 1_000_000, UTC)
    aside = path.with_name(f"{path.stem}-{at:%Y%m%dT%H%M%S.%fZ}.delivered{path.suffix}")
    stuck = ""
    try:
        if restored.settled or not restored.unsettled:
            await asyncio.to_thread(_move, path, aside, restored.unsettled)
    except OSError as error:  # the directory is read-only: the next start finds every line in the store already
        stuck = str(error)
        log.error("%s was delivered, and cannot be moved away: %s", path, error)
    report = restored.report
    log.warning(
        "%s: %d restored, %d already there, %d left or damaged, %d lines of another store",
        path,
        len(report.restored),
        len(report.already_there),
        len(restored.left),
        restored.foreign,
    )
    return Former(path, restored.left, restored.foreign, stuck)


def _move(path: Path, aside: Path, unsettled: frozenset[int]) -> None:
    """Move a file aside, but for the lines of these numbers: those stay. At every moment each line is in one of the files."""
    if not unsettled:
        path.rename(aside)
        sync_directory(path.parent)
        return
    rest = path.with_name(f".{path.name}.rest")
    descriptors = open_for_append(aside), open_private(rest, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with open_trusted(path) as file, os.fdopen(descriptors[0], "wb") as done, os.fdopen(descriptors[1], "wb") as kept:
        for number, line in enumerate(file, start=1):
            (kept if number in unsettled else done).write(line)
        for each in (done, kept):
            each.flush()
            os.fsync(each.fileno())
    rest.replace(path)
    sync_directory(path.parent)


@asynccontextmanager
async def locked(directory: Path, clock: Clock) -> AsyncGenerator[None]:
    """Exclude other servers from the rescue files of a directory.

    Raises:
        OSError: Another server has held the lock for `LOCK_S_MAX`, or the directory cannot be opened.
    """
    if sys.platform == "win32":  # Windows cannot open a directory
        yield
        return
    descriptor = await asyncio.to_thread(os.open, directory, os.O_RDONLY)
    try:
        gives_up_s = clock.monotonic_s() + LOCK_S_MAX
        while not _is_ours(descriptor):
            if clock.monotonic_s() >= gives_up_s:
                raise TimeoutError(f"another server has been writing in {directory} for {LOCK_S_MAX:.0f} s")
            await clock.sleep(LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _lies_there(path: Path) -> bool:
    """Whether a file of this name may hold lines: one system call, for which a thread would take longer.

    Raises:
        OSError: The system does not tell, as where the directory may not be entered.
    """
    try:
        return not stat.S_ISDIR(os.lstat(path).st_mode)  # no shutdown can have written into a directory
    except (FileNotFoundError, NotADirectoryError):
        return False


def _is_there_still(path: Path) -> bool:
    with suppress(OSError):
        return _lies_there(path)
    return True
