"""`realmkeep keys`: the keys of a store."""

import asyncio
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cyclopts import App

from realmkeep.cli.acting import Flag, printable, say_json
from realmkeep.cli.exit_codes import FINDINGS, exit_codes

if TYPE_CHECKING:
    from realmkeep.config import Config
    from realmkeep.operations.record_survey import Survey
    from realmkeep.records import Record

app = App(name="keys", help="The keys of a store.")


@app.command
def check(*, store: str | None = None, json: Flag = False) -> None:
    """Load every record of the store as a login would; nothing is written. It runs beside live servers.

    64 records are in memory at once. Exits with 1 if a record cannot be used, or its kind has no class in backup.holdings.

    Args:
        store: URL of the store; by default from the settings.
        json: Print JSON instead of lines.
    """
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - a command imports its modules when it runs
    from realmkeep.operations.backup.holdings import load_holdings  # noqa: PLC0415 - as above

    with exit_codes():
        config = config_with(store)
        classes = load_holdings(config.backup.holdings).records
        with bar("records") as progress:
            survey = asyncio.run(survey_store(config, classes, progress))
    if json:
        say_json(survey)
    else:
        sys.stdout.writelines(f"{printable(line)}\n" for line in described(survey))
    sys.exit(0 if survey.sound else FINDINGS)


async def survey_store(
    config: "Config", classes: "tuple[type[Record], ...]", progress: Callable[[int, int], None]
) -> "Survey":
    """Survey the store of the settings.

    Raises:
        StorageError: The store cannot be reached.
    """
    from realmkeep.clock import SystemClock  # noqa: PLC0415 - as above
    from realmkeep.keeping.live.record_keys import limits_of  # noqa: PLC0415 - as above
    from realmkeep.operations.record_survey import RecordSurvey  # noqa: PLC0415 - as above
    from realmkeep.storage.beside import connect_beside  # noqa: PLC0415 - as above

    records = config.records
    storage = await connect_beside(config.store.url, clock=SystemClock())
    try:
        total = 0
        async for _ in storage.keys("*"):
            total += 1
        survey = RecordSurvey(classes, limits_of(records), accept_unchecked=records.accept_unchecked)
        return await survey.run(storage, lambda done: progress(done, total))
    finally:
        await storage.disconnect()


@contextmanager
def bar(what: str) -> Generator[Callable[[int, int], None]]:
    """A progress bar on a terminal: call what it gives with the number that is done and the number of all."""
    from rich.console import Console  # noqa: PLC0415 - as above
    from rich.progress import Progress  # noqa: PLC0415 - as above

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=max(done, total))


def described(survey: "Survey") -> Iterator[str]:
    """The survey in lines."""
    counted = ", ".join(f"{count:,} {kind}" for kind, count in survey.records.items()) or "no records"
    yield f"{survey.keys:,} keys: {counted}"
    for kind, count in survey.behind.items():
        yield f"{kind}: {count:,} of an older version, migrated at their next login"
    if survey.mended:
        yield f"{survey.mended:,} are mended at their next login"
    for kind, count in survey.unknown.items():
        yield f"{kind}: {count:,} records without a class in backup.holdings"
    for each in survey.unusable:
        yield f"{each.key} cannot be used: {each.why}"
    if survey.unusable_count > len(survey.unusable):
        yield f"and {survey.unusable_count - len(survey.unusable):,} more"
    if survey.foreign_count:
        yield f"{survey.foreign_count:,} keys of other programs, such as {survey.foreign[0]}"
