"""The same figures of an earlier commit, by its own `realmkeep bench commit` and `realmkeep bench flush`."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import msgspec

from realmkeep.benchmarks.comparison.results import Figure, Part

BEFORE: Final = "fed6e04"  # the last one before the hot path was made anew
RUN_S_MAX: Final = 300.0  # it takes half a minute
MAIN: Final = "from realmkeep.cli import main; main()"


def extracted_sources(commit: str, into: Path) -> Path | None:
    """The `src` folder of a commit of the repository in the working directory; None if git does not have it here."""
    try:
        archive = subprocess.run(["git", "archive", commit, "src"], check=True, capture_output=True)  # noqa: S603, S607 - a commit of ours
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None
    subprocess.run(["tar", "-x", "-C", into], check=True, input=archive.stdout)  # noqa: S603, S607 - git's own archive
    return into / "src"


def measure_before(sources: Path, *, players: int, seconds: float, directory: Path) -> dict[str, float]:
    """Measure once, in processes of their own; by the keys of the figures.

    Raises:
        CalledProcessError: The earlier benchmark failed.
        TimeoutExpired: It did not end. That of `BEFORE` waits for ever if a flush begins before it has changed all players,
            as on a very busy machine.
    """
    flush = _run(sources, "flush", "--players", str(players), "--directory", str(directory))
    commit = _run(sources, "commit", "--seconds", str(seconds), "--directory", str(directory))
    trades = {f"trades-{each['concurrency']}": float(each["trades_per_s"]) for each in commit["trades"]}
    return trades | {f"flush-{mode}": float(flush[mode]["players_per_s"]) for mode in ("always", "everysec")}


def part_of_before(measured: Sequence[dict[str, float]]) -> Part:
    """The figures of several measurements."""
    return Part(
        key="before",
        title=f"The same work at commit {BEFORE}",
        work="measured by its own benchmark, in this sitting, before and after the others",
        figures=tuple(_figure(key, [each[key] for each in measured]) for key in measured[0]),
    )


def _figure(key: str, values: Sequence[float]) -> Figure:
    work, _, how = key.partition("-")
    is_trade = work == "trades"
    return Figure(
        key=key,
        way="durable trades" if is_trade else "changed players saved",
        value=round(median(values), 1),
        unit="trades/s" if is_trade else "players/s",
        rounds=tuple(values),
        at_once=int(how) if is_trade else 1,
        pipelining="group commit" if is_trade else "chunks of up to 128 players",
        fsync="always" if is_trade else how,
    )


def _run(sources: Path, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-c", MAIN, "bench", *arguments, "--json"]
    process = subprocess.Popen(  # noqa: S603 - this very interpreter
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(sources)}, start_new_session=True
    )
    try:
        printed, _ = process.communicate(timeout=RUN_S_MAX)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the store that it started
        process.communicate()
        raise
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return msgspec.json.decode(printed)
