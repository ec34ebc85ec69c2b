"""`./dev instructions`: user instructions and wire bytes of a trade and of a flushed player, and the guard against their growth.

Instructions are counted by valgrind's callgrind, so that a busy machine changes nothing: two runs differ by less than a percent.
Python is counted on a store that runs as usual; the store is counted with a Python that runs as usual. A unit's cost is the
difference of a long and a short run, divided by the units between them.

The counts belong to a build of Python and a version of the store. The guard compares with the recorded row of the same build.
"""

import asyncio
import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Final

import msgspec

from realmkeep.benchmarks.counted_work import FLUSHED, PAIRS, TRADES_EACH, do_counted_work, players_needed
from realmkeep.benchmarks.live_players import populate_store, started_server, store_information, store_version
from realmkeep.errors import Misuse
from realmkeep.storage.embedded_config import find_binary

GROWTH_MAX: Final = 1.1
VALGRIND: Final = "valgrind"
COUNTING: Final = f"{VALGRIND} --tool=callgrind --log-file={{0}}/log --callgrind-out-file={{0}}/out"
STOP_S_MAX: Final = 60.0
STORE_TRADES_EACH: Final = (8, 48)  # more than in Python: the start of a store costs 1,000 trades, and varies
SHORT, LONG = range(2)


class Counts(msgspec.Struct, frozen=True):
    """What a unit of work costs: instructions in user mode; bytes that the store receives."""

    python_a_trade: int
    python_a_flushed_player: int
    store_a_trade: int
    wire_bytes_a_trade: int


class CountedRow(msgspec.Struct, frozen=True):
    """Counts, and the builds to which they belong."""

    python: str
    store: str
    counts: Counts


class Verdict(msgspec.Struct, frozen=True):
    """Counts beside the recorded ones; `recorded` is None without a row of this build, `grown` names what grew too much."""

    row: CountedRow
    recorded: Counts | None
    grown: tuple[str, ...]


def count_instructions(directory: Path) -> CountedRow:
    """Count. Takes one to two minutes.

    Args:
        directory: The directory of the temporary files.

    Raises:
        Misuse: Valgrind is not installed.
        StorageMisconfigured: There is no Valkey or Redis to start.
    """
    if shutil.which(VALGRIND) is None:
        raise Misuse(
            "instructions are counted by valgrind, which is not installed", hint="Debian: apt install valgrind"
        )
    with tempfile.TemporaryDirectory(dir=directory, prefix="count-") as inside:
        python_a_trade, python_a_flushed_player = _count_python(Path(inside))
        short, long = (count_store(Path(inside), trades_each) for trades_each in STORE_TRADES_EACH)
    trades = PAIRS * (STORE_TRADES_EACH[LONG] - STORE_TRADES_EACH[SHORT])
    return CountedRow(
        python=python_build(),
        store=long.version,
        counts=Counts(
            python_a_trade=python_a_trade,
            python_a_flushed_player=python_a_flushed_player,
            store_a_trade=(long.instructions - short.instructions) // trades,
            wire_bytes_a_trade=(long.received_bytes - short.received_bytes) // trades,
        ),
    )


def python_build() -> str:
    """The running Python: version, optimization, compiler and processor."""
    options = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    optimized = [
        name for name, option in (("PGO", "--enable-optimizations"), ("LTO", "--with-lto")) if option in options
    ]
    return ", ".join(
        (
            f"{platform.python_implementation()} {platform.python_version()}",
            " and ".join(optimized) or "no PGO",
            platform.python_compiler(),
            platform.machine(),
        )
    )


def compare(row: CountedRow, recorded_path: Path) -> Verdict:
    """Compare counts with the recorded row of the same build.

    Args:
        row: The counts of now.
        recorded_path: A file that `record` wrote; without it there is no row.

    Raises:
        Misuse: The file is not such a file.
    """
    for other in _recorded_rows(recorded_path):
        if _same_build(other, row):
            before, now = msgspec.structs.asdict(other.counts), msgspec.structs.asdict(row.counts)
            grown = tuple(name for name in now if now[name] > GROWTH_MAX * before[name])
            return Verdict(row, other.counts, grown)
    return Verdict(row, None, ())


def record(row: CountedRow, recorded_path: Path) -> None:
    """Write the row into the file, in place of an earlier one of the same build.

    Raises:
        Misuse: The file is not one that `record` wrote.
    """
    rows = [other for other in _recorded_rows(recorded_path) if not _same_build(other, row)] + [row]
    rows.sort(key=lambda each: (each.python, each.store))
    recorded_path.write_bytes(msgspec.json.format(msgspec.json.encode(rows)) + b"\n")


def _same_build(one: CountedRow, other: CountedRow) -> bool:
    return (one.python, one.store) == (other.python, other.store)


def _recorded_rows(path: Path) -> list[CountedRow]:
    if not path.exists():
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[CountedRow])
    except msgspec.DecodeError as error:
        raise Misuse(f"{path} has no counts: {error}", hint="take the file from git again") from error


def _count_python(directory: Path) -> tuple[int, int]:
    """The interpreter's instructions a trade, and a flushed player."""
    counts = directory / "python"
    counts.mkdir()
    command = [*COUNTING.format(counts).split(), "--dump-before=getsid"]
    work = [sys.executable, "-m", "realmkeep.benchmarks.counted_work"]
    with started_server(directory, "everysec") as server:
        asyncio.run(populate_store(server.url, players_needed(FLUSHED)))
        subprocess.run(  # noqa: S603 - this very interpreter
            [*command, *work, server.url], check=True, env={**os.environ, "PYTHONHASHSEED": "0"}
        )
    # The parts end in the order of the marks: warm-up, short and long run of trades, then of flushes.
    _, trades_short, trades_long, _, flush_short, flush_long = (
        _total(counts / f"out.{number}") for number in range(1, 7)
    )
    return (
        (trades_long - trades_short) // (PAIRS * (TRADES_EACH[LONG] - TRADES_EACH[SHORT])),
        (flush_long - flush_short) // (FLUSHED[LONG] - FLUSHED[SHORT]),
    )


class StoreCount(msgspec.Struct, frozen=True):
    """A run of a store: its whole instructions, from start to end, and the bytes that it received."""

    version: str
    instructions: int
    received_bytes: int


def count_store(directory: Path, trades_each: int) -> StoreCount:
    """Count one run of a store: its start, the logins, and the trades.

    Args:
        directory: The directory of the temporary files.
        trades_each: The trades of each of the `PAIRS`.

    Raises:
        StorageMisconfigured: There is no Valkey or Redis to start.
    """
    counts = directory / f"store-{trades_each}"
    counts.mkdir()
    counted = counts / "server"
    counted.write_text(f'#!/bin/sh\nexec {COUNTING.format(counts)} {find_binary()} "$@"\n', encoding="utf-8")
    counted.chmod(0o700)
    with started_server(directory, "everysec", binary=counted) as server:
        asyncio.run(populate_store(server.url, players_needed(())))
        asyncio.run(do_counted_work(server.url, (trades_each,), ()))
        version, info = store_version(server), store_information(server)
        assert server.process, "a started server has a process"
        server.process.send_signal(signal.SIGTERM)  # it writes its counts as it ends
        server.process.wait(STOP_S_MAX)
    return StoreCount(
        version=version,
        instructions=_total(counts / "out"),
        received_bytes=int(info["total_net_input_bytes"]),
    )


def _total(path: Path) -> int:
    """The instructions in one of callgrind's files."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("totals: "):
            return int(line.removeprefix("totals: "))
    raise AssertionError(f"{path} has no totals")
