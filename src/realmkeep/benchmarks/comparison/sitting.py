"""One sitting: every part of the comparison, and the aims."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep.benchmarks.comparison.aims import aims_of
from realmkeep.benchmarks.comparison.before import BEFORE, extracted_sources, measure_before, part_of_before
from realmkeep.benchmarks.comparison.flush import FSYNC_MODES, measure_flush
from realmkeep.benchmarks.comparison.logins import measure_logins
from realmkeep.benchmarks.comparison.postgres_way import started_postgres
from realmkeep.benchmarks.comparison.results import Part, Results, described_machine
from realmkeep.benchmarks.comparison.stored import LIVE, LOST, STORED, measure_starts, measure_stored
from realmkeep.benchmarks.comparison.trades import TRADERS, measure_trades
from realmkeep.benchmarks.instructions import VALGRIND, CountedRow, count_instructions
from realmkeep.benchmarks.live_players import started_server, store_version
from realmkeep.clock import SystemClock

if TYPE_CHECKING:
    from realmkeep.testing.postgres_server import PostgresServer


class Sizes(msgspec.Struct, frozen=True):
    """How much is measured."""

    seconds: float
    rounds: int
    traders: tuple[int, ...]
    flushed: int
    logins: int
    stored: tuple[int, ...]
    live: int
    lost: int


FULL: Final = Sizes(1.0, 3, TRADERS, 20_000, 5_000, STORED, LIVE, LOST)
QUICK: Final = Sizes(0.05, 1, (1, 64), 300, 100, (100, 400), 100, 50)


def sit(*, is_quick: bool, directory: Path) -> Results:
    """Measure all parts, one after the other. The full sitting takes a quarter of an hour, the quick one some seconds.

    Args:
        is_quick: Proves that it runs; the figures say nothing.
        directory: The directory of the temporary files; the comparison measures its disk.

    Raises:
        StorageMisconfigured: There is no Valkey or Redis to start.
    """
    sizes = QUICK if is_quick else FULL
    not_run: list[str] = []
    machine = described_machine(directory, _store_version(directory))
    counted = _counted(directory, not_run, is_quick=is_quick)
    with tempfile.TemporaryDirectory(dir=directory, prefix="before-") as inside:
        before = _before(Path(inside), sizes, not_run, is_quick=is_quick)
        measured_before = before()
        with started_postgres(directory, not_run) as postgres:
            parts = list(_measure(sizes, directory, postgres))
        measured_before += before()
        if measured_before:
            parts.append(part_of_before(measured_before))
    return Results(
        commit=_commit(),
        measured_on=datetime.fromtimestamp(SystemClock().wall_us() / 1e6, UTC).date().isoformat(),
        is_quick=is_quick,
        seconds=sizes.seconds,
        rounds=sizes.rounds,
        machine=machine,
        instructions=counted.counts if counted else None,
        parts=tuple(parts),
        aims=aims_of(parts, counted.counts if counted else None),
        not_run=tuple(not_run),
    )


def _measure(sizes: Sizes, directory: Path, postgres: "PostgresServer | None") -> Sequence[Part]:
    work: list[tuple[str, Callable[[], Sequence[Part]]]] = [
        (
            "trades",
            lambda: [
                measure_trades(
                    seconds=sizes.seconds,
                    rounds=sizes.rounds,
                    directory=directory,
                    traders=sizes.traders,
                    postgres=postgres,
                )
            ],
        ),
        (
            "flush",
            lambda: measure_flush(players=sizes.flushed, rounds=sizes.rounds, directory=directory, postgres=postgres),
        ),
        (
            "logins",
            lambda: [
                measure_logins(players=sizes.logins, rounds=sizes.rounds, fsync=fsync, directory=directory)
                for fsync in FSYNC_MODES
            ],
        ),
        (
            "stored players",
            lambda: [measure_stored(rounds=sizes.rounds, directory=directory, stored=sizes.stored, live=sizes.live)],
        ),
        ("starts", lambda: [measure_starts(stored=sizes.stored[-1], lost=sizes.lost, directory=directory)]),
    ]
    parts: list[Part] = []
    for name, measure in work:
        sys.stderr.write(f"bench: {name}\n")
        parts += measure()
    return parts


def _counted(directory: Path, not_run: list[str], *, is_quick: bool) -> CountedRow | None:
    if is_quick:
        not_run.append("instruction counts: a quick sitting counts none")
    elif shutil.which(VALGRIND) is None:
        not_run.append("instruction counts: valgrind is not installed")
    else:
        sys.stderr.write("bench: instructions\n")
        return count_instructions(directory)
    return None


def _before(inside: Path, sizes: Sizes, not_run: list[str], *, is_quick: bool) -> Callable[[], list[dict[str, float]]]:
    """Measures the earlier commit; the list is empty if that is not possible."""
    sources = None if is_quick else extracted_sources(BEFORE, inside)
    if sources is None:
        not_run.append(f"the commit before, {BEFORE}: {'a quick sitting' if is_quick else 'git does not have it here'}")
        return list

    def measure() -> list[dict[str, float]]:
        sys.stderr.write(f"bench: commit {BEFORE}\n")
        try:
            return [measure_before(sources, players=sizes.flushed, seconds=sizes.seconds, directory=inside)]
        except subprocess.TimeoutExpired:
            not_run.append(f"the commit before, {BEFORE}: its benchmark did not end; the machine is too busy")
            return []

    return measure


def _store_version(directory: Path) -> str:
    with started_server(directory, "everysec") as server:
        return store_version(server)


def _commit() -> str:
    """The commit of the repository in the working directory; empty without one, with a plus after local changes."""
    try:
        head = subprocess.run(["git", "rev-parse", "--short", "HEAD"], check=True, capture_output=True, text=True)  # noqa: S607 - as git is found
        changed = subprocess.run(["git", "status", "--porcelain"], check=True, capture_output=True, text=True)  # noqa: S607 - as above
    except (FileNotFoundError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")
