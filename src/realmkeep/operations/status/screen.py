"""A report on a terminal of 80 columns: once, or again and again with rates and the course of each figure."""

from __future__ import annotations

from collections import defaultdict, deque
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from rich.console import Group
from rich.table import Table
from rich.text import Text

from realmkeep.operations.status.figures import Attention, lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from realmkeep.operations.status.report import StatusReport

COURSE: Final = 16  # reports that a course shows
BARS: Final = "▁▂▃▄▅▆▇█"
STYLES: Final = {Attention.NONE: "", Attention.WARNING: "yellow", Attention.CRITICAL: "bold red"}


def shown(report: StatusReport) -> RenderableType:
    """A report as a table."""
    table = _table()
    for line in lines(report):
        table.add_row(_plain(line.name), _plain(line.text), Text(line.attention.value), style=STYLES[line.attention])
    return Group(*_head(report), table, Text("counts and durations are since the start of the server", style="dim"))


class Screen:
    """The screen of `realmkeep top`: the figures since the last report, and their course.

    Args:
        port: The address that is asked.
    """

    def __init__(self, port: str) -> None:
        self._port = port
        self._before: StatusReport | None = None
        self._courses: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=COURSE))

    def after(self, report: StatusReport) -> RenderableType:
        """The screen after a new report."""
        table = _table()
        table.add_column(no_wrap=True, width=COURSE)
        for line in lines(report, self._before):
            course = Text("")
            if line.value is not None and self._before is not None:
                self._courses[line.name].append(line.value)
                course = Text(drawn(self._courses[line.name]), style="cyan")
            table.add_row(
                _plain(line.name), _plain(line.text), Text(line.attention.value), course, style=STYLES[line.attention]
            )
        self._before = report
        return Group(*_head(report), table, Text(f"{self._port}   Ctrl-C ends", style="dim"))

    def without(self, why: str) -> RenderableType:
        """The screen while the server does not answer."""
        self._before = None
        return Group(_plain(why, "bold red"), Text("trying again   Ctrl-C ends", style="dim"))


def drawn(values: Sequence[float]) -> str:
    """A bar for each value, from zero to the largest."""
    most = max(values, default=0.0)
    return "".join(BARS[round((len(BARS) - 1) * value / most)] if most else BARS[0] for value in values)


def _plain(text: str, style: str = "") -> Text:
    """A text from the network: without markup, and with control characters escaped."""
    return Text("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text), style=style)


def _table() -> Table:
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(style="bold", no_wrap=True, width=10)
    table.add_column(ratio=1, overflow="fold")
    table.add_column(no_wrap=True, width=8)
    return table


def _head(report: StatusReport) -> list[RenderableType]:
    up = str(timedelta(seconds=int(report.up_s)))
    state = Text("ready", style="bold green") if report.ready else Text("NOT READY", style="bold red")
    head: list[RenderableType] = [
        Text.assemble((report.server, "bold"), "  ", state, f"  up {up}  realmkeep {report.version}")
    ]
    head += [_plain(f"not ready: {reason}", "bold red") for reason in report.not_ready]
    head += [_plain(f"DEGRADED: {reason}", "bold red") for reason in report.degraded]
    head += [_plain(f"store: {warning}", "yellow") for warning in report.store.warnings]
    return [*head, Text("")]
