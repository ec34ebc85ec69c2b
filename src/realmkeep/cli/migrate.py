"""`realmkeep migrate`: the records of a store in the versions of the code."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Path as PathRule

from realmkeep.cli.acting import Flag, opened, printable, say_json
from realmkeep.cli.exit_codes import FINDINGS, TRY_LATER, USAGE, exit_codes
from realmkeep.cli.keys import bar, described, survey_store

if TYPE_CHECKING:
    from realmkeep.config import Config
    from realmkeep.operations.migrate.running import MigrationReport
    from realmkeep.operations.record_survey import Survey
    from realmkeep.records import Record

app = App(
    name="migrate", help="Records of older versions: what there is, a rehearsal, the run, and a check of the code."
)

Directory = Annotated[Path | None, Parameter(validator=PathRule(file_okay=False))]
Identity = Annotated[Path | None, Parameter(validator=PathRule(exists=True, dir_okay=False))]
LayoutFile = Annotated[Path | None, Parameter(validator=PathRule(dir_okay=False))]


@app.command
def plan(*, store: str | None = None, json: Flag = False) -> None:
    """Count the records of each version in the store, and those that a run would migrate. Nothing is written.

    Exits with 1 if a record cannot be used, or its kind has no class in backup.holdings.

    Args:
        store: URL of the store; by default from the settings.
        json: Print JSON instead of lines.
    """
    with exit_codes():
        config, classes = _settings(store)
        with bar("records") as progress:
            survey = asyncio.run(survey_store(config, classes, progress))
    _say(survey, json=json)


@app.command
def rehearse(
    *,
    backup: str | None = None,
    directory: Directory = None,
    identity: Identity = None,
    store: str | None = None,
    json: Flag = False,
) -> None:
    """Load and migrate every record, and write none: of a verified backup in a scratch store, or of the store itself.

    Exits with 1 if a record could not be migrated.

    Args:
        backup: The backup; `newest` is the newest verified one. Without it, the store of the settings.
        directory: The directory of the backups.
        identity: File with the secret keys of age, for an encrypted backup.
        store: URL of the store; by default from the settings.
        json: Print JSON instead of lines.
    """
    with exit_codes():
        config, classes = _settings(store, directory)
        with bar("records") as progress:
            if backup is None:
                survey = asyncio.run(survey_store(config, classes, progress))
            else:
                survey = asyncio.run(_of_backup(config, classes, backup, identity, progress))
    _say(survey, json=json)


async def _of_backup(
    config: "Config",
    classes: "tuple[type[Record], ...]",
    name: str,
    identity: Path | None,
    progress: Callable[[int, int], None],
) -> "Survey":
    from realmkeep.clock import SystemClock  # noqa: PLC0415 - a command imports its modules when it runs
    from realmkeep.keeping.live.record_keys import limits_of  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.packing import check_files, read_identities  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.restoring import choose_backup  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.scratch import scratch_store  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.workplace import workplace  # noqa: PLC0415 - as above
    from realmkeep.operations.record_survey import RecordSurvey  # noqa: PLC0415 - as above

    clock, records = SystemClock(), config.records
    place = await asyncio.to_thread(Path(config.backup.directory).absolute)
    chosen = await asyncio.to_thread(choose_backup, place, None if name == "newest" else name, None)
    assert chosen.manifest is not None  # choose_backup returns no other
    path, manifest = place / chosen.name, chosen.manifest
    await asyncio.to_thread(check_files, path, manifest)
    identities = () if identity is None else await asyncio.to_thread(read_identities, identity)
    async with (
        workplace(place, clock) as work,
        scratch_store(path, manifest, work, identities=identities, clock=clock) as storage,
    ):
        survey = RecordSurvey(classes, limits_of(records), accept_unchecked=records.accept_unchecked)
        return await survey.run(storage, lambda done: progress(done, manifest.census.keys))


@app.command
def run(*, store: str | None = None, yes: Flag = False, json: Flag = False) -> None:
    """Migrate every stored record of an older version, each under a claim; records of live servers are left to them.

    Start it after every server of the realm runs the new release: an older one cannot read a newer record. A run that ended
    early is started again. Exits with 0 if nothing is behind, 75 if live servers own some, 1 if a record cannot be migrated.

    Args:
        store: URL of the store; by default from the settings.
        yes: Do not ask; needed off a terminal.
        json: Print JSON instead of lines.
    """
    with exit_codes():
        config, classes = _settings(store)
        with bar("records") as progress:
            survey = asyncio.run(survey_store(config, classes, progress))
        if not json:
            sys.stdout.writelines(f"{printable(line)}\n" for line in described(survey))
        if survey.behind and not _agreed(yes=yes):
            sys.exit(FINDINGS)
        with bar("records") as progress:
            report = asyncio.run(_run(config, classes, progress, sum(survey.records.values())))
    if json:
        say_json(report)
    else:
        for kind, count in report.migrated.items():
            sys.stdout.write(f"{kind}: {count:,} migrated\n")
        sys.stdout.write(f"{report.live:,} belong to live servers\n" if report.live else "")
        sys.stdout.writelines(f"{printable(f'{each.key} cannot be used: {each.why}')}\n" for each in report.unusable)
    sys.exit(FINDINGS if report.unusable_count else TRY_LATER if report.live else 0)


async def _run(
    config: "Config", classes: "tuple[type[Record], ...]", progress: Callable[[int, int], None], total: int
) -> "MigrationReport":
    from realmkeep.operations.migrate.running import MigrationRun  # noqa: PLC0415 - as above

    async with opened(config, changes=False) as (keeper, _):
        return await MigrationRun(keeper, classes).run(lambda done: progress(done, total))


def _agreed(*, yes: bool) -> bool:
    if yes:
        return True
    if not sys.stdin.isatty():
        sys.stderr.write("realmkeep: nothing was changed: off a terminal add --yes to migrate them\n")
        sys.exit(USAGE)
    sys.stderr.write("Type yes to migrate them: ")
    sys.stderr.flush()
    return sys.stdin.readline().strip() == "yes"


@app.command
def check(*, file: LayoutFile = None, write: Flag = False, json: Flag = False) -> None:
    """Compare the record classes with their layouts in a file beside the code, for continuous integration.

    Exits with 1 if a class has changed and its version has not, or if the file lacks a class or a new version: then --write.

    Args:
        file: The file; by default record_layouts.json beside the module of the first class of backup.holdings.
        write: Write the present layouts into the file, unless a class has changed without a new version.
        json: Print JSON instead of lines.
    """
    from realmkeep.operations.migrate.fingerprints import (  # noqa: PLC0415 - as above
        compare,
        path_beside,
        read_layouts,
        write_layouts,
    )

    with exit_codes():
        _, classes = _settings(None)
        path = file or path_beside(classes[0])
        findings = compare(classes, read_layouts(path))
        if write and not any(each.needs_version for each in findings):
            write_layouts(path, classes)
            findings = []
    if json:
        say_json(findings)
    else:
        for each in findings:
            do = "raise its version, and add a migration" if each.needs_version else "realmkeep migrate check --write"
            sys.stdout.write(f"{each.kind}: {each.what} ({do})\n")
        sys.stdout.write("" if findings else f"{len(classes)} classes are as in {path}\n")
    sys.exit(FINDINGS if findings else 0)


def _settings(store: str | None, directory: Path | None = None) -> "tuple[Config, tuple[type[Record], ...]]":
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.holdings import load_holdings  # noqa: PLC0415 - as above

    config = config_with(store, **{"backup.directory": None if directory is None else str(directory)})
    return config, load_holdings(config.backup.holdings).records


def _say(survey: "Survey", *, json: bool) -> None:
    if json:
        say_json(survey)
    else:
        sys.stdout.writelines(f"{printable(line)}\n" for line in described(survey))
    sys.exit(0 if survey.sound else FINDINGS)
