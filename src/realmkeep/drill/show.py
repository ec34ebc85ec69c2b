"""A drill on the console: the live table while it runs, and the verdict."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table

from realmkeep.drill.faults import FAULTS
from realmkeep.drill.report import StoreReport, Verdict

Show = Callable[[StoreReport, str], None]
VIOLATIONS_SHOWN = 20


@contextmanager
def live_table(*, quiet: bool) -> Generator[Show]:
    """Show the table on standard error while the drill runs; with `quiet`, or off a terminal, a line for each fault."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        told: list[str] = []

        def line(report: StoreReport, phase: str) -> None:
            if not phase and told and not quiet:
                sys.stderr.write(f"{told[-1]}: {_in_a_line(report, told[-1])}\n")
                sys.stderr.flush()
            told[:] = [phase]

        yield line
        return
    with Live(console=console, auto_refresh=False) as live:

        def show(report: StoreReport, phase: str) -> None:
            live.update(verdict_table(report, phase), refresh=True)

        yield show


def _in_a_line(report: StoreReport, phase: str) -> str:
    if phase in report.controls:
        return "caught" if report.controls[phase][0] else "NOT CAUGHT"
    verdict = report.faults.get(phase.split(" with ", maxsplit=1)[0])
    if verdict is None:
        return "looked"
    return verdict.evidence or "did not fire"


def verdict_table(report: StoreReport, phase: str = "") -> Table:
    """Return the verdict on each fault and control, and the present one.

    Args:
        report: The report so far.
        phase: What happens now.
    """
    seeds = ", ".join(map(str, report.seeds[:3])) + (" ..." if len(report.seeds) > len(report.seeds[:3]) else "")
    title = f"{report.store} ({report.engine}), {report.servers} servers, {report.bots} bots, seed {seeds}"
    table = Table(title=title, caption=f"now: {phase}" if phase else None)
    table.add_column("fault", no_wrap=True)
    for name in ("rounds", "fired", "acknowledged", "lost", "doubled", "stuck", "window s", "recovery s"):
        table.add_column(name, justify="right")
    for name in (*FAULTS, *sorted(report.faults.keys() - FAULTS.keys())):
        if name in report.faults:
            table.add_row(name, *_cells(report.faults[name]))
    for name, (caught, tried) in report.controls.items():
        table.add_row(name, str(tried), "caught" if caught == tried else "[bold red]NOT CAUGHT[/]")
    return table


def _cells(verdict: Verdict) -> list[str]:
    bad = [f"[bold red]{count}[/]" if count else "0" for count in (verdict.lost, verdict.doubled, verdict.stuck)]
    fired = str(verdict.fired) if verdict.fired else "[yellow]not proved[/]"
    return [
        str(verdict.rounds),
        fired,
        str(verdict.acknowledged),
        *bad,
        f"{verdict.window_s:.2f}",
        f"{verdict.recovery_s:.2f}",
    ]


def print_verdict(report: StoreReport, replay: str, history: str) -> None:
    """Print the verdict to standard output.

    Args:
        report: The report.
        replay: The line that plays the drill again.
        history: The file of its history, if anything was wrong; else empty.
    """
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(verdict_table(report))
    for name, why in report.not_run.items():
        console.print(f"[yellow]not proved[/]: {name}: {why}", highlight=False)
    acknowledged = sum(verdict.acknowledged for verdict in report.faults.values())
    fired = sum(verdict.fired for verdict in report.faults.values())
    console.print(
        f"{fired} faults fired, {acknowledged} operations acknowledged in their rounds, {report.seconds:.0f} s"
    )
    if not report.failed:
        console.print("[bold green]kept[/]: nothing acknowledged was lost, nothing was doubled")
        return
    console.print(f"[bold red]broken[/]: {len(report.violations)} violations")
    for violation in report.violations[:VIOLATIONS_SHOWN]:
        console.print(f"  {violation}", highlight=False, markup=False)
    for name, (caught, tried) in report.controls.items():
        if caught < tried:
            console.print(f"  {name} was not caught: this drill proves nothing", highlight=False)
    console.print(f"replay: {replay}", highlight=False, markup=False, soft_wrap=True)
    if history:
        console.print(f"history: {history}", highlight=False, markup=False, soft_wrap=True)
