"""`realmkeep bench`: measures Realmkeep on this machine."""

import asyncio
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import msgspec
from cyclopts import App, Parameter
from cyclopts.validators import Number
from cyclopts.validators import Path as PathRule

if TYPE_CHECKING:
    from realmkeep.benchmarks.comparison.results import Part

app = App(name="bench", help="Measure Realmkeep on this machine against other ways to do the same.")
Players = Annotated[int, Parameter(validator=Number(gte=1))]
Seconds = Annotated[float, Parameter(validator=Number(gt=0))]
Fsync = Literal["always", "everysec"]
Directory = Annotated[Path, Parameter(validator=PathRule(exists=True, file_okay=False))]


@app.command
def compare(
    *, results: Path | None = None, page: Path | None = None, quick: bool = False, directory: Directory = Path()
) -> None:
    """Measure Realmkeep against redis-py, SQLite, Postgres and the limits of the store, in one sitting of a quarter of an hour.

    Args:
        results: The file for the results, as JSON; without it they are printed as tables.
        page: A Markdown page for the results as tables, and for a chart beside it.
        quick: Take some seconds; the figures say nothing.
        directory: A directory for the stores' files; the comparison measures its disk.
    """
    from realmkeep.benchmarks.comparison.page import write_page, write_results, written  # noqa: PLC0415 - imports drivers
    from realmkeep.benchmarks.comparison.sitting import sit  # noqa: PLC0415 - as above

    measured = sit(is_quick=quick, directory=directory)
    if results:
        write_results(measured, results)
    if page:
        write_page(measured, page)
    if not results:
        sys.stdout.write(written(measured))


@app.command
def write(
    *,
    store: str,
    records: Players = 20_000,
    size: Annotated[int, Parameter(validator=Number(gte=1, lte=512 * 1024))] = 768,
    json: bool = False,
) -> None:
    """Players written a second to a Postgres of your own: by Realmkeep, one transaction a player, and unguarded upserts.

    Args:
        store: URL of the Postgres; the players are of a kind of their own, and are deleted at the end.
        records: The number of players.
        size: Bytes of a player's record.
        json: Print JSON instead of a table.
    """
    from realmkeep.benchmarks.write_postgres import bench_write_postgres  # noqa: PLC0415 - imports a driver

    _print(asyncio.run(bench_write_postgres(store, records=records, size=size)), json=json)


@app.command
def redraw(*, results: Path, page: Path) -> None:
    """Write tables and chart anew from results of an earlier sitting.

    Args:
        results: The file of `compare`.
        page: The Markdown page.
    """
    from realmkeep.benchmarks.comparison.page import read_results, write_page  # noqa: PLC0415 - imports drivers

    write_page(read_results(results), page)


@app.command
def flush(*, players: Players = 50_000, rounds: Players = 3, directory: Directory = Path(), json: bool = False) -> None:
    """Changed players saved a second, beside other ways and the limits of the store, and the event loop meanwhile.

    Args:
        players: The number of players, each with 14 items and a full op ring.
        rounds: How often each way is measured.
        directory: A directory for the store's files; the benchmark measures its disk.
        json: Print JSON instead of tables.
    """
    from realmkeep.benchmarks.comparison.flush import measure_flush  # noqa: PLC0415 - imports drivers

    _print_parts(measure_flush(players=players, rounds=rounds, directory=directory), json=json)


@app.command
def commit(*, seconds: Seconds = 2.0, rounds: Players = 3, directory: Directory = Path(), json: bool = False) -> None:
    """Durable two-player trades a second, beside other ways and the limits of the store and the disk.

    Args:
        seconds: The duration of each way in each round.
        rounds: How often each way is measured.
        directory: A directory for the store's files; the benchmark measures its disk.
        json: Print JSON instead of a table.
    """
    from realmkeep.benchmarks.comparison.trades import measure_trades  # noqa: PLC0415 - imports drivers

    _print_parts([measure_trades(seconds=seconds, rounds=rounds, directory=directory)], json=json)


@app.command
def logins(*, players: Players = 5_000, rounds: Players = 3, directory: Directory = Path(), json: bool = False) -> None:
    """Logins a second, 64 at once, with records of the schema before, beside redis-py's GET and json.loads.

    Args:
        players: The players that enter in each round.
        rounds: How often each way is measured.
        directory: A directory for the store's files; the benchmark measures its disk.
        json: Print JSON instead of tables.
    """
    from realmkeep.benchmarks.comparison.flush import FSYNC_MODES  # noqa: PLC0415 - imports drivers
    from realmkeep.benchmarks.comparison.logins import measure_logins  # noqa: PLC0415 - as above

    parts = [measure_logins(players=players, rounds=rounds, fsync=each, directory=directory) for each in FSYNC_MODES]
    _print_parts(parts, json=json)


@app.command
def sessions(*, players: Players = 50_000, directory: Directory = Path(), json: bool = False) -> None:
    """The cost of a live session: memory, and pauses of the garbage collector.

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
def console(
    *,
    live: Players = 50_000,
    stored: Players = 1_000_000,
    operators: Players = 5,
    seconds: Seconds = 20.0,
    rounds: Players = 3,
    directory: Directory = Path(),
    json: bool = False,
) -> None:
    """How long the pages of the console take, and how late the ticks of a game are while operators browse.

    Args:
        live: The number of live players.
        stored: The number of stored players, each with an account.
        operators: The number of operators who browse at once.
        seconds: The duration of each half of a round: without operators, and with them.
        rounds: The number of rounds.
        directory: A directory for the store's files.
        json: Print JSON instead of a table.
    """
    from realmkeep.benchmarks.console import bench_console  # noqa: PLC0415 - an extra

    _print(
        bench_console(directory, live=live, stored=stored, operators=operators, seconds=seconds, rounds=rounds),
        json=json,
    )


@app.command
def cold_outage(
    *,
    fault: Literal["pause", "kill"] = "pause",
    bots: Players = 60,
    seconds: Seconds = 600.0,
    beside: Seconds = 120.0,
    directory: Directory = Path(),
    json: bool = False,
) -> None:
    """A realm under a crowd while the PostgreSQL of its cold tier is away: ticks, commits, new players and memory, and before and after.

    Args:
        fault: pause: the PostgreSQL stands still (SIGSTOP); kill: it is dead (SIGKILL).
        bots: Number of bots.
        seconds: How long it is away.
        beside: The seconds of the phase before, and of the one after.
        directory: A directory for the files of the server and its store.
        json: Print JSON instead of a table.
    """
    from realmkeep.benchmarks.cold_outage import bench_cold_outage  # noqa: PLC0415 - imports drivers

    _print(bench_cold_outage(directory, fault=fault, bots=bots, seconds=seconds, beside_s=beside), json=json)


@app.command
def journal(
    *,
    seconds: Seconds = 1.0,
    rounds: Players = 9,
    fsync: Fsync = "always",
    directory: Directory = Path(),
    json: bool = False,
) -> None:
    """Durable trades with a journal beside the same trades without one, in turns.

    Args:
        seconds: The duration of each half of a round.
        rounds: The number of rounds.
        fsync: That of the store.
        directory: A directory for the store's files; the benchmark measures its disk.
        json: Print JSON instead of a table.
    """
    from realmkeep.benchmarks.journal import bench_journal  # noqa: PLC0415 - imports a driver

    _print(bench_journal(seconds=seconds, rounds=rounds, fsync=fsync, directory=directory), json=json)


@app.command
def cold_tier(*, players: Players = 1_000_000, directory: Directory = Path(), json: bool = False) -> None:
    """A cold tier behind many players: sweep, freeze, verify, thaw, reconcile and boards, and the ticks of a game meanwhile.

    Args:
        players: The number of players, each with 14 items and a full op ring: 10 KB of disk and 6 KB of memory each.
        directory: A directory for the store's files; the PostgreSQL has its own in the system's temporary directory.
        json: Print JSON instead of a table.
    """
    from realmkeep.benchmarks.cold_tier import bench_cold_tier  # noqa: PLC0415 - imports drivers

    _print(bench_cold_tier(players=players, directory=directory), json=json)


@app.command
def shapes(*, seconds: Seconds = 5.0, directory: Directory = Path(), json: bool = False) -> None:
    """Durable trades on each kind of store that one machine can start: SQLite, embedded, Valkey, sentinels, a cluster, Postgres.

    Args:
        seconds: The duration of each measurement.
        directory: A directory for the stores' files; the benchmark measures its disk.
        json: Print JSON instead of a table.
    """
    from realmkeep.benchmarks.shapes import bench_shapes  # noqa: PLC0415 - imports drivers

    _print(bench_shapes(seconds=seconds, directory=directory), json=json)


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
def records(*, seconds: Seconds = 8.0, json: bool = False) -> None:
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


def _print_parts(parts: "Sequence[Part]", *, json: bool) -> None:
    from realmkeep.benchmarks.comparison.page import table  # noqa: PLC0415 - only these commands need it

    if json:
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(parts)).decode() + "\n")
        return
    for part in parts:
        sys.stdout.writelines(f"{line}\n" for line in table(part))


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
