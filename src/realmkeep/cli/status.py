"""`realmkeep status` and `realmkeep top`: a running server at a glance."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from realmkeep.cli.exit_codes import FINDINGS, UNAVAILABLE, exit_codes

if TYPE_CHECKING:
    from realmkeep.operations.status.report import StatusReport

_Flag = Annotated[bool, Parameter(negative="")]
_Interval = Annotated[float, Parameter(validator=Number(gte=0.1, lte=3600))]
_Count = Annotated[int, Parameter(validator=Number(gte=0))]


def status(address: str | None = None, /, *, data: Path = Path("realm-data"), json: _Flag = False) -> None:
    """Show a running server: whether it is ready, the promises that do not hold, and its figures since its start.

    Exits with 0 if it is ready and every promise holds, 1 if not, 69 if no server answers, 78 if no address is known.

    Args:
        address: `host:port` of its metrics; by default that of the server of DATA, else that of the settings.
        data: The directory of a server on this machine.
        json: Print the report as JSON.
    """
    from rich.console import Console  # noqa: PLC0415 - a command imports its modules when it runs

    from realmkeep.operations.status.client import NoServer, fetch_report  # noqa: PLC0415 - as above
    from realmkeep.operations.status.screen import shown  # noqa: PLC0415 - as above

    try:
        report = fetch_report(_port(address, data))
    except NoServer as error:
        _end(error)
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
    else:
        Console(highlight=False).print(shown(report))
    sys.exit(0 if _well(report) else FINDINGS)


def top(
    address: str | None = None,
    /,
    *,
    data: Path = Path("realm-data"),
    interval: _Interval = 1.0,
    count: _Count = 0,
    json: _Flag = False,
) -> None:
    """Show a running server again and again, with rates and the course of each figure.

    Exits as `status` does, by the last report; Ctrl-C ends it.

    Args:
        address: As for `status`.
        data: As for `status`.
        interval: Seconds between two reports.
        count: End after this many reports; 0: never.
        json: Print each report as a line of JSON.
    """
    port = _port(address, data)
    try:
        code = asyncio.run(_watch(port, interval, count, json=json))
    except KeyboardInterrupt:
        code = 0
    sys.exit(code)


async def _watch(port: str, interval: float, count: int, *, json: bool) -> int:
    """Ask and show until `count` reports were asked for; returns the exit code."""
    from rich.console import Console  # noqa: PLC0415 - a command imports its modules when it runs
    from rich.live import Live  # noqa: PLC0415 - as above

    from realmkeep.clock import SystemClock  # noqa: PLC0415 - as above
    from realmkeep.operations.status.client import NoServer, fetch_report  # noqa: PLC0415 - as above
    from realmkeep.operations.status.screen import Screen  # noqa: PLC0415 - as above

    clock, screen, console = SystemClock(), Screen(port), Console(highlight=False)
    code, asked = 0, 0
    with Live(console=console, screen=console.is_terminal and not json, auto_refresh=False, transient=False) as live:
        while True:
            try:
                report = await asyncio.to_thread(fetch_report, port)
            except NoServer as error:
                code, seen = UNAVAILABLE, screen.without(error.message)
                line = msgspec.json.encode({"error": error.message})
            else:
                code, seen = 0 if _well(report) else FINDINGS, screen.after(report)
                line = msgspec.json.encode(report)
            if json:
                sys.stdout.write(line.decode() + "\n")
                sys.stdout.flush()
            elif console.is_terminal:
                live.update(seen, refresh=True)
            else:
                console.print(seen)
            asked += 1
            if asked == count:
                return code
            await clock.sleep(interval)


def _well(report: "StatusReport") -> bool:
    return report.ready and not report.degraded


def _port(address: str | None, data: Path) -> str:
    from realmkeep import load_config  # noqa: PLC0415 - a command imports its modules when it runs
    from realmkeep.operations.status.client import find_port  # noqa: PLC0415 - as above

    with exit_codes():
        return find_port(address, data, load_config())


def _end(error: Exception) -> NoReturn:
    sys.stderr.write(f"realmkeep: {error}\n")
    sys.exit(UNAVAILABLE)
