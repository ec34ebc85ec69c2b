"""The economy: the totals of each backup, the alarms of this server, and on request a count of the store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from realmkeep.errors import ActRefused, BackupError
from realmkeep.operations.backup.catalogue import list_backups

if TYPE_CHECKING:
    from starlette.responses import Response

    from realmkeep.operations.backup.manifest import Manifest
    from realmkeep.operations.console.visit import Visit

BACKUPS_SHOWN: Final = 14
THINGS_SHOWN: Final = 12  # columns


async def show_economy(visit: Visit) -> Response:
    """The page.

    Raises:
        BackupError: The directory of the backups cannot be read.
    """
    manifests = await _manifests(visit)
    status = visit.desk.keeper.status()
    newest = manifests[0].census.totals if manifests else {}
    things = sorted(newest, key=lambda name: (-newest[name], name))[:THINGS_SHOWN]
    return visit.render(
        "economy.html",
        title="Economy",
        manifests=manifests,
        things=things,
        counters=status,
        **await _count(visit, manifests),
    )


async def show_count(visit: Visit) -> Response:
    """The part of the page that waits for the count.

    Raises:
        BackupError: The directory of the backups cannot be read.
    """
    return visit.render("economy_count.html", **await _count(visit, await _manifests(visit)))


async def start_count(visit: Visit) -> Response:
    """Count the store in a child process; a store of SQLite, which its server alone may open, by its newest backup.

    Raises:
        ActRefused: There is nothing to count.
        BackupError: The directory of the backups cannot be read.
    """
    command = _command(visit, await _manifests(visit))
    if command is None:
        raise ActRefused("there is no backup to count", hint="make one: `realmkeep backup create`")
    visit.desk.reports.start(*command)
    return visit.redirect("/economy")


async def _manifests(visit: Visit) -> list[Manifest]:
    """The manifests of the last backups, the newest first."""
    directory = visit.desk.config.backup.directory
    try:
        backups = await asyncio.to_thread(list_backups, Path(directory))
    except OSError as error:
        raise BackupError(f"{directory} cannot be read: {error.strerror}", hint="see backup.directory") from error
    return [each.manifest for each in reversed(backups) if each.manifest is not None][:BACKUPS_SHOWN]


def _command(visit: Visit, manifests: list[Manifest]) -> tuple[str, ...] | None:
    if visit.desk.engine.storage.capability.backend not in {"sqlite", "memory"}:
        return ("economy", "audit")
    plain = next((each for each in manifests if not each.recipients), None)
    return None if plain is None else ("economy", "audit", "--backup", plain.name)


async def _count(visit: Visit, manifests: list[Manifest]) -> dict[str, Any]:
    command = _command(visit, manifests)
    report = None if command is None else visit.desk.reports.latest(*command)
    return {
        "count": report,
        "running": report is not None and report.running,
        "counted": "nothing" if command is None else "the store" if len(command) == 2 else f"the backup {command[3]}",
    }
