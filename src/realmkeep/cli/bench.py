"""`realmkeep bench`: how fast it is on this machine."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number
from cyclopts.validators import Path as PathRule

app = App(name="bench", help="Measure Realmkeep on this machine against other ways of doing the same.")


@app.command
def write(
    *,
    records: Annotated[int, Parameter(validator=Number(gte=1))] = 20_000,
    size: Annotated[int, Parameter(validator=Number(gte=1, lte=512 * 1024))] = 768,
    directory: Annotated[Path, Parameter(validator=PathRule(exists=True, file_okay=False))] = Path(),
    json: bool = False,
) -> None:
    """Players written a second, by Realmkeep, by SET and RENAME, by plain SETs, and by the bare limit of the store.

    Args:
        records: How many players.
        size: Bytes of a player's record.
        directory: Where the store's files lie meanwhile; it is this disk that is measured.
        json: Print JSON instead of a table.
    """
    from realmkeep.benchmarks.write import WriteFigures, bench_write  # noqa: PLC0415 - the driver is imported when it is needed

    report = asyncio.run(bench_write(records=records, size=size, directory=directory))
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
        return
    sys.stdout.write(f"{report.engine}, {records:,} players of {size:,} bytes, median of {report.rounds} rounds\n")
    sys.stdout.write(f"{'':18}{'always':>12}{'everysec':>12}\n")
    for name in WriteFigures.__struct_fields__:
        always, everysec = (getattr(figures, name) for figures in (report.always, report.everysec))
        sys.stdout.write(f"{name:18}{always:12,.2f}{everysec:12,.2f}\n")
