"""`realmkeep doctor`: examines a store and this machine."""

import asyncio
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cyclopts import Parameter

from realmkeep.cli.exit_codes import FINDINGS, MISCONFIGURED, UNAVAILABLE, USAGE, exit_codes

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from realmkeep.operations.doctor import Finding, Report
    from realmkeep.operations.doctor.mending import Mending

COLUMNS: Final = 80
OUTCOMES: Final = {"unavailable": UNAVAILABLE, "misconfigured": MISCONFIGURED}
_Flag = Annotated[bool, Parameter(negative="")]


def doctor(
    url: str | None = None,
    /,
    *,
    fix: _Flag = False,
    yes: _Flag = False,
    accept: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    json: _Flag = False,
) -> None:
    """Examine the store, its backups and this machine, and end with the promise that this store can make.

    Each finding says what it is, why it matters, and the line that mends it. Without --fix nothing is changed. With it only
    settings of a live Valkey or Redis are, no key is touched, and a terminal is asked first.

    Exits with 0 if there are no findings, 1 if there are, 69 if the store does not answer, 78 if a setting is wrong or the
    store refuses this user.

    Args:
        url: URL of the store; by default from the settings. `embedded:///DATA/store` is that of `serve --data DATA`.
        fix: Change settings where no change can lose data: CONFIG SET, then CONFIG REWRITE.
        yes: Do not ask; needed with --fix off a terminal.
        accept: The name of a finding that is meant to be so; may be repeated.
        json: Print JSON instead of text.
    """
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - a command imports its modules when it runs

    with exit_codes():
        config = config_with(url)
        store, backups = config.store.url, Path(config.backup.directory).absolute()
        report = asyncio.run(_examine(store, backups, accept))
        for name in sorted({*accept} - {finding.name for finding in report.accepted}):
            sys.stderr.write(f"realmkeep: --accept {name!a:.60}: there is no such finding now\n")
        if not json:
            sys.stdout.writelines(f"{line}\n" for line in _described(report))
        if fix and _may_mend(report, yes=yes):
            mending = _mend(store, report)
            sys.stdout.writelines(() if json else (f"{line}\n" for line in _mended(mending)))
            report = asyncio.run(_examine(store, backups, accept))
            sys.stdout.write("" if json else _ending(report))
        if json:
            sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
    sys.exit(OUTCOMES.get(report.outcome, FINDINGS if report.findings else 0))


async def _examine(store: str, backups: Path, accept: "Collection[str]") -> "Report":
    from realmkeep.operations.doctor import examine  # noqa: PLC0415 - imports a driver

    return await examine(store, backups=backups, accept=accept)


def _may_mend(report: "Report", *, yes: bool) -> bool:
    """Print the plan, and ask on a terminal."""
    from realmkeep.operations.doctor.mending import mendable  # noqa: PLC0415 - imports a driver

    plan = [f"  {_set(finding)}" for finding in mendable(report.findings)]
    if not plan:
        sys.stderr.write("There is nothing that --fix can mend.\n")
        return False
    sys.stderr.write("\n".join(["--fix changes these settings of the store:", *plan, ""]))
    if yes:
        return True
    if not sys.stdin.isatty():
        sys.stderr.write("realmkeep: nothing was changed: off a terminal --fix needs --yes\n")
        sys.exit(USAGE)
    sys.stderr.write("Change them? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _mend(store: str, report: "Report") -> "Mending":
    from realmkeep.operations.doctor.mending import mend, mendable  # noqa: PLC0415 - imports a driver

    return asyncio.run(mend(store, mendable(report.findings)))


def _set(finding: "Finding") -> str:
    return " ".join(["CONFIG SET", *(f"{name} {_quoted(value)}" for name, value in finding.settings)])


def _quoted(value: str) -> str:
    return f'"{value}"' if " " in value or not value else value


def _described(report: "Report") -> "Iterator[str]":
    yield f"store    {report.store}{f' ({report.engine})' if report.engine else ''}"
    if report.error:
        yield from _wrapped(report.error, "error    ")
    for finding in report.accepted:
        yield from _wrapped(f"{finding.what} [{finding.name}]", "accepted ")
    for sentence in report.unexamined:
        yield from _wrapped(sentence, "not seen ")
    for finding in report.findings:
        yield ""
        yield from _wrapped(f"{finding.what} [{finding.name}]", f"{finding.grade.upper():8} ")
        yield from _wrapped(f"{finding.why}", "   why   ")
        yield f"   mend  {finding.mend}"  # not broken: it is copied
    yield ""
    yield from _ending(report).splitlines()


def _ending(report: "Report") -> str:
    found = report.findings
    by_fix = sum(bool(finding.settings) for finding in found)
    counted = f"{len(found)} finding{'' if len(found) == 1 else 's'}" if found else "No findings"
    mended = f"; --fix mends {by_fix}" if by_fix else ""
    return f"{counted}{mended}.\n" + "\n".join(textwrap.wrap(report.promise, COLUMNS)) + "\n"


def _mended(mending: "Mending") -> "Iterator[str]":
    for each in mending.mended:
        yield f"{each.finding}: {f'not mended: {each.error}' if each.error else 'mended'}"
    if not mending.kept:
        yield from _wrapped(f"the changes hold until the store restarts: {mending.why_not}", "")


def _wrapped(text: str, indent: str) -> "Sequence[str]":
    shown = text if text.isprintable() else ascii(text)  # a store may answer with any text
    return textwrap.wrap(shown, COLUMNS, initial_indent=indent, subsequent_indent=" " * len(indent)) or [indent]
