"""`realmkeep journal`: the archive of the journal."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number

from realmkeep.cli.exit_codes import FINDINGS, exit_codes
from realmkeep.keeping.writing.journal_entries import encode_entry

if TYPE_CHECKING:
    from realmkeep.config import Config
    from realmkeep.operations.journal.history import Found
    from realmkeep.operations.journal.replaying import ReplayReport
    from realmkeep.operations.journal.verifying import ArchiveReport

app = App(name="journal", help="The archive of the journal: what every commit changed, in a chain of segments.")


@app.command
def recent(
    key: str,
    /,
    *,
    count: Annotated[int, Parameter(validator=Number(gte=1, lte=1000))] = 100,
    archive: str | None = None,
    json: bool = False,
) -> None:
    """Show the newest entries about a record in the archive, the last one first; older segments are not read.

    `realmkeep player history` shows all of them, with those that still wait in the store. Exits with 1 if there is none.

    Args:
        key: The key of the record, such as player:7.
        count: How many.
        archive: URL of the archive; by default from the settings.
        json: Print JSON instead of lines.
    """
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - a command imports its modules when it runs

    with exit_codes():
        found = asyncio.run(_recent(config_with(None, **{"journal.url": archive}), key, count))
    if json:
        rows = [{"server": each.server, "entry": each.entry} for each in found]
        sys.stdout.write(msgspec.json.encode(rows).decode() + "\n")
    else:
        sys.stdout.writelines(f"{each.server}  {encode_entry(each.entry).decode()}\n" for each in found)
    sys.exit(0 if found else FINDINGS)


async def _recent(config: "Config", key: str, count: int) -> "list[Found]":
    from realmkeep.operations.journal.archives import open_archive  # noqa: PLC0415 - as above
    from realmkeep.operations.journal.recent import recent_entries  # noqa: PLC0415 - as above

    opened = open_archive(config.journal.url)
    try:
        return await recent_entries(opened, key, count)
    finally:
        await opened.close()


@app.command
def verify(*, store: str | None = None, archive: str | None = None, replay: bool = False, json: bool = False) -> None:
    """Read every segment of every server, and compare it with its manifest, the segment before it, and the store's mark.

    Exits with 0 if the chain is whole, otherwise with 1. A segment that was removed by journal.keep_days is no fault.

    Args:
        store: URL of the store; by default from the settings.
        archive: URL of the archive; by default from the settings.
        replay: Also replay the journal, and compare with the store each field that changes in commits alone. Stop the servers first.
        json: Print JSON instead of lines.
    """
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - a command imports its modules when it runs

    with exit_codes():
        report, replayed = asyncio.run(_verify(config_with(store, **{"journal.url": archive}), replay=replay))
    if json:
        shown = msgspec.to_builtins(report) | ({} if replayed is None else {"replayed": msgspec.to_builtins(replayed)})
        sys.stdout.write(msgspec.json.encode(shown).decode() + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in _lines(report))
        sys.stdout.writelines(f"{line}\n" for line in _replay_lines(replayed))
    sys.exit(FINDINGS if report.faults or (replayed is not None and replayed.differences) else 0)


async def _verify(config: "Config", *, replay: bool) -> "tuple[ArchiveReport, ReplayReport | None]":
    from realmkeep.operations.backup.game import game_of  # noqa: PLC0415 - as above
    from realmkeep.operations.journal.archives import open_archive  # noqa: PLC0415 - as above
    from realmkeep.operations.journal.history import History  # noqa: PLC0415 - as above
    from realmkeep.operations.journal.replaying import replay as replayed  # noqa: PLC0415 - as above
    from realmkeep.operations.journal.verifying import verify_archive  # noqa: PLC0415 - as above
    from realmkeep.storage import open_storage  # noqa: PLC0415 - as above

    opened, storage = open_archive(config.journal.url), open_storage(config.store.url)
    try:
        await storage.connect()
        report = await verify_archive(opened, storage)
        if not replay or report.faults:
            return report, None
        return report, await replayed(History(opened, storage), storage, game_of(config))
    finally:
        await storage.disconnect()
        await opened.close()


@app.command
def forget(*, archive: str | None = None, directory: Path | None = None) -> None:
    """Destroy the keys of erased persons again, after a copy of the archive was brought back; erasures.jsonl names them.

    Args:
        archive: URL of the archive; by default from the settings.
        directory: The directory of the backups, with erasures.jsonl.
    """
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - a command imports its modules when it runs

    flags = {"journal.url": archive, "backup.directory": None if directory is None else str(directory)}
    with exit_codes():
        count = asyncio.run(_forgotten(config_with(None, **flags)))
    sys.stdout.write(f"the keys of {count} erased persons were there again, and are destroyed\n")


async def _forgotten(config: "Config") -> int:
    from realmkeep.operations.backup.erasures import Erasures  # noqa: PLC0415 - as above
    from realmkeep.operations.journal.archives import open_archive  # noqa: PLC0415 - as above
    from realmkeep.operations.journal.persons import repeat_erasures  # noqa: PLC0415 - as above

    erasures = await asyncio.to_thread(Erasures, Path(config.backup.directory), 0)
    opened = open_archive(config.journal.url)
    try:
        return await repeat_erasures(opened, erasures.has_player)
    finally:
        await opened.close()


def _lines(report: "ArchiveReport") -> list[str]:
    lines = [f"FAULT  {fault}" for fault in report.faults]
    lines += [f"{server}  begins with segment {number}" for server, number in report.begins.items() if number > 1]
    lines += [f"{segment}  follows a return of the store to an older state" for segment in report.returned]
    if report.gaps:
        lines.append(f"{report.gaps} entries note a gap")
    whole = "is not whole" if report.faults else "is whole"
    return [*lines, f"the journal {whole}: {report.segments} segments, {report.entries} entries"]


def _replay_lines(report: "ReplayReport | None") -> list[str]:
    if report is None:
        return []
    lines = [f"DIFFERS  {each}" for each in report.differences]
    told = f"{report.fields} fields of {report.records} records are as the journal gives them"
    if report.differences:
        told = f"{len(report.differences)} of {report.fields} fields differ, of {report.records} records"
    return [*lines, told + (f"; {report.skipped} records could not be compared" if report.skipped else "")]
