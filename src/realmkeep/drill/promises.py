"""The tables of the promises, cell by cell from the results of drills: `python -m realmkeep.drill.promises RESULTS PAGE ...`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from realmkeep.drill.faults import FAULTS
from realmkeep.drill.report import Results, StoreReport, Verdict, read_results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

NOT_PROVED: Final = "not proved"
ROWS: Final = (
    ("A game server dies", ("server-kill", "server-kill-at-point", "server-term-kill", "servers-kill")),
    ("A game server is told to close, and drains", ("server-drain",)),
    ("A server stands still for longer than its lease", ("server-pause", "server-stall")),
    ("The store dies", ("store-kill", "store-and-server-kill")),
    (
        "The store stands still or refuses writes",
        ("store-pause", "memory-full", "rewrite-child-kill", "snapshot-child-kill"),
    ),
    ("The store comes back empty or older, and is mended", ("store-empty", "store-older")),
    ("The cold tier dies or stands still", ("archive-kill", "archive-pause")),
    ("A replica dies or lags behind its primary, a slot moves", ("replica-kill", "replica-lag", "slot-move")),
    ("The machine loses power", ("power-cut",)),
    ("The disk is slow, fails, or is full", ("fsync-slow", "fsync-fail", "disk-full")),
    (
        "The network is cut, silent, slow, or doubles requests; clients vanish",
        (
            "network-cut", "network-half-open", "network-slow", "network-reset", "network-drips", "network-doubles",
            "clients-vanish",
        ),
    ),
    ("A clock is an hour off", ("server-clock", "store-clock")),
    ("A server may open no more files", ("descriptors-exhausted",)),
)  # fmt: skip
BEGIN: Final = "<!-- The drill wrote this: {} -->\n"
END: Final = "<!-- until here -->"


def cell(report: StoreReport, faults: Sequence[str]) -> str:
    """Return what was lost on a store by some faults: `not proved` if none of them was seen to happen."""
    total, fired = Verdict(), 0
    for name in faults:
        verdict = report.faults.get(name, Verdict())
        total.add(verdict)
        fired += bool(verdict.fired)
    if not fired:
        return NOT_PROVED
    if total.violations:
        return f"**broken {total.violations} times** ({total.fired})"
    lost = f"the last {total.power_s:g} s" if total.power_s else "nothing"
    older = f"; {total.window_s:g} of {report.promised_s:g} s" if total.window_s else ""
    return f"{lost}{older} ({total.fired}{', in part' if fired < len(faults) else ''})"


def table(results: Results, rows: Iterable[tuple[str, Sequence[str]]]) -> str:
    """Return a table with a column for each store of the drill's own game."""
    stores = [report for report in results.stores if not report.game]
    lines = ["| Failure | " + " | ".join(f"`{report.store}`" for report in stores) + " |"]
    lines.append("|---|" + "---|" * len(stores))
    for title, faults in rows:
        lines.append(f"| {title} | " + " | ".join(cell(report, faults) for report in stores) + " |")
    return "\n".join(lines) + "\n"


def provenance(results: Results) -> str:
    """Return the sentence about the drills behind a table."""
    stores = [report for report in results.stores if not report.game]
    rounds = sum(verdict.rounds for report in stores for verdict in report.faults.values())
    fired = sum(verdict.fired for report in stores for verdict in report.faults.values())
    acknowledged = sum(verdict.acknowledged for report in stores for verdict in report.faults.values())
    caught = sum(caught for report in stores for caught, _ in report.controls.values())
    tried = sum(tried for report in stores for _, tried in report.controls.values())
    hours = sum(report.seconds for report in stores) / 3600
    return (
        f"Written by [the drill](REALMKEEP_DRILL) on {results.date}, Realmkeep {results.version}, Python {results.python}: "
        f"{rounds:,} rounds in {hours:.1f} hours, {fired:,} faults that were seen to happen, {acknowledged:,} acknowledged "
        f"operations in their rounds, {caught} of {tried} controls caught.\n"
    )


def promises(results: Results) -> str:
    """Return the table of the README: a row for each kind of failure."""
    return table(results, ROWS) + "\n" + provenance(results).replace("REALMKEEP_DRILL", "docs/drill.md#results")


def every_fault(results: Results) -> str:
    """Return the table of the drill's page: a row for each fault."""
    rows = [(f"`{name}`", (name,)) for name in FAULTS]
    return table(results, rows) + "\n" + provenance(results).replace("REALMKEEP_DRILL", "#results")


PARTS: Final[dict[str, Callable[[Results], str]]] = {"promises": promises, "faults": every_fault}


def redrawn(page: str, results: Results) -> str:
    """Return a page with its tables written anew."""
    for name, write in PARTS.items():
        begin = BEGIN.format(name)
        before, found, rest = page.partition(begin)
        if found:
            page = before + begin + write(results) + END + rest.partition(END)[2]
    return page


def main(results: Path, *pages: Path) -> None:
    """Write the tables of some pages anew.

    Raises:
        ValueError: The file of results is none, or of another version.
        OSError: A file cannot be read or written.
    """
    read = read_results(results.read_bytes())
    for page in pages:
        page.write_text(redrawn(page.read_text(encoding="utf-8"), read), encoding="utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
