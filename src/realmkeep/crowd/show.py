"""A crowd on the console: its progress bar and its report."""

import json
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from realmkeep.crowd.run import CrowdReport
from realmkeep.crowd.tally import Tally

Show = Callable[[str, float, Tally], None]
PROBLEMS_SHOWN = 20


@contextmanager
def progress_bar(*, quiet: bool) -> Generator[Show]:
    """A progress bar on standard error; with `quiet`, none."""
    if quiet:
        yield lambda _what, _share, _tally: None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[counts]}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("connecting", total=1.0, counts="")

        def show(what: str, share: float, tally: Tally) -> None:
            counts = f"{tally.operations} operations, {tally.nacks.total()} refused, {tally.drops} drops"
            progress.update(bar, description=f"{what:<10}", completed=share, counts=counts)

        yield show


def print_report(report: CrowdReport, *, as_json: bool) -> None:
    """Print a report to standard output."""
    if as_json:
        sys.stdout.write(json.dumps(report.as_json(), indent=2) + "\n")
        return
    console = Console()
    tally = report.tally
    operations = Table("operation", "acks", "refused", "reasons", title="operations")
    for action in sorted({*tally.acks, *(action for action, _ in tally.nacks)}):
        reasons = {reason: count for (of, reason), count in tally.nacks.most_common() if of == action}
        shown = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
        operations.add_row(action, str(tally.acks[action]), str(sum(reasons.values())), shown)
    console.print(operations)
    latencies = Table("", "answers", "p50 ms", "p95 ms", "p99 ms", "max ms", title="from request to answer")
    for what in sorted(tally.latencies_s):
        row = tally.latency_ms(what)
        latencies.add_row(what, *(f"{value:g}" for value in row.values()))
    console.print(latencies)
    console.print(
        f"{report.bots} bots played {report.played_s:.1f} s: {tally.operations / report.played_s:.0f} operations a second, "
        f"{tally.drops} dropped connections, {tally.resumed} sessions resumed, {tally.repeated} operations repeated, "
        f"{tally.lost} connections lost"
    )
    console.print("events: " + ", ".join(f"{kind} {count}" for kind, count in tally.events.most_common()))
    if not report.problems:
        console.print("[bold green]conserved[/]: nothing was lost or doubled")
        return
    console.print(f"[bold red]not conserved[/]: {len(report.problems)} problems")
    for problem in report.problems[:PROBLEMS_SHOWN]:
        console.print(f"  {problem}")
