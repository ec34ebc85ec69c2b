"""The audit trail, and the backups."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

from realmkeep.errors import BackupError
from realmkeep.operations.backup.catalogue import list_backups

if TYPE_CHECKING:
    from starlette.responses import Response

    from realmkeep.operations.console.visit import Visit

ENTRIES_SHOWN: Final = 200
BACKUPS_SHOWN: Final = 200


async def show_audit(visit: Visit) -> Response:
    """The newest acts, the last one first.

    Raises:
        Corrupt: The head of the trail cannot be read.
        StorageError: The store cannot be reached.
    """
    entries = [entry async for entry in visit.desk.acts.audit(visit.by, last=ENTRIES_SHOWN)]
    return visit.render("audit.html", title="Audit", entries=entries[::-1])


async def show_backups(visit: Visit) -> Response:
    """The backups of the directory in the settings, the newest first.

    Raises:
        BackupError: The directory cannot be read.
    """
    directory = visit.desk.config.backup.directory
    try:
        backups = await asyncio.to_thread(list_backups, Path(directory))
    except OSError as error:
        raise BackupError(f"{directory} cannot be read: {error.strerror}", hint="see backup.directory") from error
    return visit.render(
        "backups.html", title="Backups", backups=backups[: -BACKUPS_SHOWN - 1 : -1], directory=directory
    )
