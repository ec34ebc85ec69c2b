"""`realmkeep bench`: measures Realmkeep on this machine."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number
from cyclopts.validators import Path as PathRule

app = App(name="bench", help="Measure Realmkeep on this machine against other ways to do the same.")
Players = Annotated[int, Parameter(validator=Number(gte=1))]
Directory = Annotated[Path, Parameter(validator=PathRule(exists=True, file_okay=False))]


@app.command
def write(
    *,
    records: Players = 20_000,
    size: Annotated[int, Parameter(validator=Number(gte=1, lte=512 * 1024))] = 768,
    directory: Directory = Path(),
    store: str | None = None,
    json: bool = False,
) -> None:
    """Players written a second, by Realmkeep, by SET and RENAME, by plain SETs, and by the bare limit of the store.

    On a Postgres: by Realmkeep, by one transaction a player, and by unguarded upserts of the same rows.

    Args:
        records: The number of players.
        size: Bytes of a player's record.
        directory: A directory for the files of a Valkey; the benchmark measures its disk.
        store: URL of a Postgres to measure instead; the players are of a kind of their own, and are deleted at the end.
        json: Print JSON instead of a table.
    """
    if store is not None:
        from realmkeep.benchmarks.write_postgres import bench_write_postgres  # noqa: PLC0415 - imports a driver

        _print(asyncio.run(bench_write_postgres(store, records=records, size=size)), json=json)
        return
    from realmkeep.benchmarks.write import WriteFigures, bench_write  # noqa: PLC0415 - imports a driver

    report = asyncio.run(bench_write(records=records, size=size, directory=directory))
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
        return
    sys.stdout.write(f"{report.engine}, {records:,} players of {size:,} bytes, median of {report.rounds} rounds\n")
    sys.stdout.write(f"{'':18}{'always':>12}{'everysec':>12}\n")
    for name in WriteFigures.__struct_fields__:
        always, everysec = (getattr(figures, name) for figures in (report.always, report.everysec))
        sys.stdout.write(f"{name:18}{always:12,.2f}{everysec:12,.2f}\n")


@app.command
def flush(*, players: Players = 50_000, directory: Directory = Path(), json: bool = False) -> None:
    """Dirty players saved a second, beside the bare limit of the store, and the delay of a 20 Hz tick meanwhile.

    Args:
        players: The number of players, each with 14 items and a full op ring.
        directory: A directory for the store's files; the benchmark measures its disk.
        json: Print JSON instead of a table.
    """
    from realmkeep.benchmarks.flush import bench_flush  # noqa: PLC0415 - imports a driver

    _print(bench_flush(players=players, directory=directory), json=json)


@app.command
def commit(
    *,
    seconds: Annotated[float, Parameter(validator=Number(gt=0))] = 2.0,
    directory: Directory = Path(),
    json: bool = False,
) -> None:
    """Durable two-player trades a second, beside SQLite, MULTI and the disk's own fdatasync.

    Args:
        seconds: The duration of each measurement; trades are measured three times.
        directory: A directory for the store's files; the benchmark measures its disk.
        json: Print JSON instead of a table.
    """
    from realmkeep.benchmarks.commit import bench_commit  # noqa: PLC0415 - imports drivers

    _print(bench_commit(seconds=seconds, directory=directory), json=json)


@app.command
def sessions(*, players: Players = 50_000, directory: Directory = Path(), json: bool = False) -> None:
    """The cost of a live session: memory, pauses of the garbage collector, logins and recoveries a second.

    Args:
        players: The number of players that are live at once.
        directory: A directory for the store's files.
        json: Print JSON instead of a table.
    """
    from realmkeep.benchmarks.sessions import bench_sessions  # noqa: PLC0415 - imports a driver

    _print(bench_sessions(sessions=players, directory=directory), json=json)


@app.command
def metrics(*, players: Players = 50_000, json: bool = False) -> None:
    """What the metrics add to a commit, and how long a scrape holds up the event loop.

    Args:
        players: The number of players that are live at once; half of them are dirty.
        json: Print JSON instead of a table.
    """
    from realmkeep.benchmarks.metrics import bench_metrics  # noqa: PLC0415 - an extra

    _print(bench_metrics(players=players), json=json)


@app.command
def accounts(*, directory: Directory = Path(), json: bool = False) -> None:
    """Logins a second with passwords and with tickets, the tick beside them, and the time that a refusal takes.

    Args:
        directory: A directory for the stores' files.
        json: Print JSON instead of a table.
    """
    from realmkeep.benchmarks.accounts import bench_accounts  # noqa: PLC0415 - imports drivers

    _print(bench_accounts(directory=directory), json=json)


@app.command
def records(*, seconds: Annotated[float, Parameter(validator=Number(gt=0))] = 8.0, json: bool = False) -> None:
    """Nanoseconds to encode, load, undo and assign, beside msgspec, json and pickle.

    Args:
        seconds: The approximate duration of all measurements.
        json: Print JSON instead of a table.
    """
    from realmkeep.benchmarks.records import bench_records  # noqa: PLC0415 - only this command needs it

    _print(bench_records(seconds=seconds), json=json)


@app.command
def instructions(*, recorded: Path, record: bool = False, directory: Directory = Path()) -> int:
    """Count the instructions and wire bytes of a trade and of a flushed player with valgrind; fail if one grew by a tenth.

    Args:
        recorded: The file of recorded counts.
        record: Write the counts into the file, as those of this Python and store.
        directory: A directory for temporary files.
    """
    from realmkeep.benchmarks import instructions as counting  # noqa: PLC0415 - imports a driver

    verdict = counting.compare(counting.count_instructions(directory), recorded)
    row, before = verdict.row, verdict.recorded
    sys.stdout.write(f"{row.python}; {row.store}\n")
    for name, count in msgspec.structs.asdict(row.counts).items():
        compared = f"recorded {getattr(before, name):9,}  {count / getattr(before, name) - 1:+7.1%}" if before else ""
        sys.stdout.write(f"{name:24}{count:11,}  {compared}{'  GROWN' if name in verdict.grown else ''}\n")
    if record:
        counting.record(row, recorded)
        return 0
    if before is None:
        sys.stdout.write(f"NO ROW for this Python and store in {recorded}: counted, and compared with nothing\n")
    return 1 if verdict.grown else 0


def _print(report: msgspec.Struct, *, json: bool) -> None:
    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(report)).decode() + "\n")
        return
    rows = list(_rows(msgspec.to_builtins(report)))
    columns = max(len(name) for name, _ in rows)
    for name, value in rows:
        sys.stdout.write(f"{name:{columns}} {f'{value:,}' if isinstance(value, (int, float)) else value:>16}\n")


def _rows(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the figures of a report by name, the figures of its parts with dotted names."""
    for name, value in values.items():
        if isinstance(value, (dict, list, tuple)):
            pairs = (
                cast("dict[Any, Any]", value).items()
                if isinstance(value, dict)
                else enumerate(cast("Sequence[Any]", value))
            )
            yield from _rows({f"{name}.{key}": part for key, part in pairs})
        else:
            yield name, value
