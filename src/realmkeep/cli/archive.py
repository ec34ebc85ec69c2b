"""`realmkeep archive`: the cold tier behind the store."""

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeVar

import msgspec
from cyclopts import App, Parameter

from realmkeep.cli.exit_codes import FINDINGS, USAGE, exit_codes
from realmkeep.errors import ConfigError

if TYPE_CHECKING:
    from realmkeep.config import Config
    from realmkeep.operations.archive.archiver import ColdArchiver
    from realmkeep.operations.archive.reconciling import ReconcileReport
    from realmkeep.storage import ColdStore, Storage

T = TypeVar("T")
Flag = Annotated[bool, Parameter(negative="")]

app = App(name="archive", help="The cold tier: a PostgreSQL with a row for each record.")


class _Tiers(NamedTuple):
    """Both tiers, connected, and the settings."""

    storage: "Storage"
    cold: "ColdStore"
    config: "Config"


@app.command
def status(*, store: str | None = None, archive: str | None = None, json: Flag = False) -> None:
    """Show how far each server has shipped its changes, and the last sweep.

    Args:
        store: URL of the store; by default from the settings.
        archive: URL of the cold tier; by default from the settings.
        json: Print JSON instead of lines.
    """
    from realmkeep.operations.archive.marks import read_marks  # noqa: PLC0415 - a command imports its modules when it runs

    told = _run(store, archive, lambda tiers: read_marks(tiers.cold))
    _say(told, told.lines(), json=json)


@app.command
def verify(*, store: str | None = None, archive: str | None = None, json: Flag = False) -> None:
    """Compare every record of the store with its row, and read the row of each frozen record. Nothing is changed.

    Exits with 0 if every frozen record can come back and no states contradict each other, otherwise with 1.

    Args:
        store: URL of the store; by default from the settings.
        archive: URL of the cold tier; by default from the settings.
        json: Print JSON instead of lines.
    """
    from realmkeep.operations.archive.verifying import verify as verified  # noqa: PLC0415 - as above

    report = _run(store, archive, lambda tiers: verified(tiers.storage, tiers.cold))
    lines = [f"FAULT  {fault.key} {fault.why}" for fault in report.faults]
    lines += [
        f"{report.records} records, {report.frozen} of them frozen; {report.equal} are equal in both tiers",
        f"{report.behind} are newer in the store, and {report.only_cold} are in the archive alone",
    ]
    if report.faults_count > len(report.faults):
        lines.append(f"{report.faults_count} faults in all")
    _say(report, lines, json=json)
    sys.exit(FINDINGS if report.faults_count else 0)


@app.command
def sweep(*, store: str | None = None, archive: str | None = None, json: Flag = False) -> None:
    """Ship every record that no running server is going to ship, and finish erasures. Servers may run meanwhile.

    Args:
        store: URL of the store; by default from the settings.
        archive: URL of the cold tier; by default from the settings.
        json: Print JSON instead of lines.
    """

    async def swept(archiver: "ColdArchiver") -> object:
        report = await archiver.sweeper.sweep()
        await archiver.shipper.ship(is_last=True)
        return report

    report = _run(store, archive, lambda tiers: _archived(tiers, swept))
    _say(report, _figures(report), json=json)


@app.command
def freeze(
    *keys: str,
    older_than_days: float | None = None,
    store: str | None = None,
    archive: str | None = None,
    json: Flag = False,
) -> None:
    """Freeze records: those with these keys, or every one that has not changed for some days. Servers may run meanwhile.

    A record with waiting letters, a live one, and one that has changed within five minutes stay as they are.

    Args:
        keys: Keys of records, such as player:7.
        older_than_days: Freeze every record of archive.freeze_kinds that has not changed for so many days.
        store: URL of the store; by default from the settings.
        archive: URL of the cold tier; by default from the settings.
        json: Print JSON instead of lines.
    """
    if bool(keys) == (older_than_days is not None):
        sys.stderr.write("realmkeep: name the keys of records, or give --older-than-days\n")
        sys.exit(USAGE)
    from realmkeep.clock import SystemClock  # noqa: PLC0415 - as above
    from realmkeep.operations.archive.freezing import DAY_S, Freezer  # noqa: PLC0415 - as above

    async def frozen(tiers: _Tiers) -> object:
        kinds = tiers.config.archive.freeze_kinds.split()
        freezer = Freezer(tiers.storage, tiers.cold, SystemClock(), kinds)
        return await (
            freezer.freeze(keys) if older_than_days is None else freezer.freeze_inactive(older_than_days * DAY_S)
        )

    report = _run(store, archive, frozen)
    _say(report, _figures(report), json=json)


@app.command
def reconcile(
    *,
    store: str | None = None,
    archive: str | None = None,
    backup_of: str | None = None,
    yes: Flag = False,
    json: Flag = False,
) -> None:
    """After a loss or a restore of either tier: let the store have what only the archive has. Stop the servers first.

    Where the archive is newer a stub takes the place of the record, and its next login thaws it. A lost store is rebuilt so as well.
    Erasures are done once more. Ids go on far beyond those that were given out. Exits with 1 if a frozen record cannot come back.

    Args:
        store: URL of the store; by default from the settings.
        archive: URL of the cold tier; by default from the settings.
        backup_of: The moment of the backup that was restored into the store, as 2031-05-04T12:00:00Z. A restore gives each record
            a new revision, so the moment tells which rows are newer. Leave it out if no backup was restored.
        yes: Do not ask; needed off a terminal.
        json: Print JSON instead of lines.
    """
    if not _agreed(yes=yes):
        sys.exit(USAGE)
    report = _run(store, archive, lambda tiers: _reconciled(tiers, backup_of))
    lines = [f"DENIED  {key}: the archive is older than its stub" for key in report.denied]
    _say(report, [*lines, *_figures(report)], json=json)
    sys.exit(FINDINGS if report.denied else 0)


@app.command
def schema() -> None:
    """Print the tables of the archive, for a database whose users may not make tables themselves."""
    folder = resources.files("realmkeep.storage").joinpath("postgres", "sql")
    sys.stdout.write(folder.joinpath("cold_schema.sql").read_text(encoding="utf-8"))


@app.command
def views(*, role: str = "realm_reader") -> None:
    """Print views for support and analytics, one for each record class and its schema version, and a role that reads them alone.

    Give the output to psql as the owner of the database: realmkeep archive views | psql realm_archive

    Args:
        role: The name of the role.
    """
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - as above
    from realmkeep.operations.archive.views import views_of  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.game import game_of  # noqa: PLC0415 - as above

    with exit_codes():
        sys.stdout.write(views_of(game_of(config_with(None)).holdings.records, role))


async def _reconciled(tiers: _Tiers, backup_of: str | None) -> "ReconcileReport":
    from pathlib import Path  # noqa: PLC0415 - as above

    from realmkeep.operations.archive.reconciling import Reconciler  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.erasures import Erasures  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.moments import parse_second  # noqa: PLC0415 - as above

    as_of_us = None if backup_of is None else parse_second(backup_of) * 1_000_000
    erasures = await asyncio.to_thread(Erasures, Path(tiers.config.backup.directory), 0)
    return await Reconciler(tiers.storage, tiers.cold, as_of_us=as_of_us, erasures=erasures).run()


async def _archived(tiers: _Tiers, work: Callable[["ColdArchiver"], Awaitable[T]]) -> T:
    """Run work with an archiver of its own, on a keeper that plays no part in the game."""
    import os  # noqa: PLC0415 - as above
    from pathlib import Path  # noqa: PLC0415 - as above

    from realmkeep.keeping import Keeper  # noqa: PLC0415 - as above
    from realmkeep.operations.archive.archiver import ColdArchiver  # noqa: PLC0415 - as above

    named = msgspec.structs.replace(tiers.config.keeper, name="archive-sweep")
    keeper = await Keeper.open(
        tiers.storage, config=named, records=tiers.config.records, rescue_path=Path(os.devnull), cold=tiers.cold
    )
    try:
        return await work(ColdArchiver(keeper, tiers.cold, tiers.config.archive))
    finally:
        await keeper.close()


def _run(store: str | None, archive: str | None, work: Callable[[_Tiers], Awaitable[T]]) -> T:
    """Run work on both tiers, and end the program with the exit code of its error."""
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - as above

    async def run() -> T:
        async with _opened(config_with(store, **{"archive.url": archive})) as tiers:
            return await work(tiers)

    with exit_codes():
        return asyncio.run(run())


@asynccontextmanager
async def _opened(config: "Config") -> AsyncGenerator[_Tiers]:
    from realmkeep.clock import SystemClock  # noqa: PLC0415 - as above
    from realmkeep.storage import open_cold_store  # noqa: PLC0415 - as above
    from realmkeep.storage.beside import connect_beside  # noqa: PLC0415 - as above

    if not config.archive.url:
        raise ConfigError("archive.url is not set", hint="postgresql://user@host/database, or --archive")
    cold = open_cold_store(config.archive.url)
    storage = await connect_beside(config.store.url, clock=SystemClock())
    try:
        await cold.connect()
        yield _Tiers(storage, cold, config)
    finally:
        await cold.disconnect()
        await storage.disconnect()


def _figures(report: object) -> list[str]:
    found = msgspec.to_builtins(report)
    return [f"{name.replace('_', ' ')}: {value}" for name, value in found.items() if isinstance(value, int)]


def _say(report: object, lines: list[str], *, json: bool) -> None:
    told = msgspec.json.encode(report).decode() if json else "\n".join(lines)
    sys.stdout.write(f"{told}\n")


def _agreed(*, yes: bool) -> bool:
    """Whether the operator agrees; off a terminal only by `--yes`."""
    if yes:
        return True
    if not sys.stdin.isatty():
        sys.stderr.write("realmkeep: add --yes to change the store\n")
        return False
    sys.stdout.write("The servers must be stopped. Type yes to change the store: ")
    sys.stdout.flush()
    return sys.stdin.readline().strip() == "yes"
