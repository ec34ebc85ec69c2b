"""The results of a comparison, as `benchmarks/results.json` has them, with the machine on which they were measured."""

import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from realmkeep.benchmarks.instructions import Counts, python_build
from realmkeep.benchmarks.slices import MS, percentile

GIB: Final = 1024**3


class Spread(msgspec.Struct, frozen=True):
    """Percentiles of durations, in milliseconds."""

    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What one way reached.

    Attributes:
        key: The name by which aims refer to the figure.
        way: The name of the way.
        value: The median of the rounds.
        unit: For example `trades/s`.
        rounds: The value of each round, in order.
        at_once: How many callers wait for an answer at the same time.
        pipelining: How requests share a round trip.
        fsync: When the way waits for the disk.
        is_limit: Whether the figure is a bound of the store or of the disk, without any game server.
        took: The time from a call to its answer.
    """

    key: str
    way: str
    value: float
    unit: str
    rounds: tuple[float, ...]
    at_once: int
    pipelining: str
    fsync: str
    is_limit: bool = False
    took: Spread | None = None


class NamedSpread(msgspec.Struct, frozen=True):
    """Durations that no way is measured by: slices of the event loop, the lateness of a tick."""

    key: str
    name: str
    spread: Spread


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One contest: the same work, done in several ways."""

    key: str
    title: str
    work: str
    figures: tuple[Figure, ...]
    spreads: tuple[NamedSpread, ...] = ()

    def figure(self, key: str) -> Figure:
        """The figure of that key.

        Raises:
            KeyError: There is none.
        """
        for figure in self.figures:
            if figure.key == key:
                return figure
        raise KeyError(key)

    def spread(self, key: str) -> Spread:
        """The durations of that key.

        Raises:
            KeyError: There are none.
        """
        for named in self.spreads:
            if named.key == key:
                return named.spread
        raise KeyError(key)

    def ratio(self, key: str, to: str) -> float:
        """The median, over the rounds, of one figure over another: neighbours in time, so that a busy moment hits both.

        Raises:
            KeyError: There is no such figure.
        """
        ones, others = self.figure(key).rounds, self.figure(to).rounds
        return median(one / other for one, other in zip(ones, others, strict=True))


class Aim(msgspec.Struct, frozen=True, kw_only=True):
    """A bound that the figures should keep; `value` is None where a figure was not measured."""

    name: str
    value: float | None
    target: float
    is_at_least: bool

    @property
    def holds(self) -> bool | None:
        """Whether the bound is kept; None if it was not measured."""
        if self.value is None:
            return None
        return self.value >= self.target if self.is_at_least else self.value <= self.target


class Machine(msgspec.Struct, frozen=True):
    """The machine, as far as it matters for the figures."""

    processor: str
    cores: int
    memory_gib: float
    system: str
    disk: str
    python: str
    store: str
    load_before: float


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """One sitting."""

    commit: str
    measured_on: str
    is_quick: bool
    seconds: float
    rounds: int
    machine: Machine
    instructions: Counts | None
    parts: tuple[Part, ...]
    aims: tuple[Aim, ...]
    not_run: tuple[str, ...]


def spread(durations_s: Sequence[float]) -> Spread:
    """The percentiles of durations in seconds; of one at least."""

    def rounded_ms(share: float) -> float:
        return round(percentile(durations_s, share) * MS, 4)

    return Spread(rounded_ms(0.5), rounded_ms(0.99), rounded_ms(0.999), round(max(durations_s) * MS, 4))


def number(value: float) -> str:
    """A figure for a reader, with three digits or more."""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"


def described_machine(directory: Path, store: str) -> Machine:
    """Describe this machine.

    Args:
        directory: The directory of the stores' files; its file system is named.
        store: Engine and version of the store.
    """
    return Machine(
        processor=_line_of("/proc/cpuinfo", lambda line: line.startswith("model name")) or platform.machine(),
        cores=os.cpu_count() or 1,
        memory_gib=round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / GIB, 1),
        system=f"{platform.system()} {platform.release()}",
        disk=_disk(directory.resolve()),
        python=python_build(),
        store=store,
        load_before=round(os.getloadavg()[0], 2),
    )


def _line_of(file: str, wanted: Callable[[str], bool]) -> str:
    """The text after the colon of the first wanted line of a file of Linux; empty elsewhere."""
    try:
        lines = Path(file).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if wanted(line)), "")


def _disk(directory: Path) -> str:
    """Device and file system of a directory, where the system tells them."""
    try:
        mounts = [line.split()[:3] for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError:
        return "unknown"
    around = [mount for mount in mounts if directory.is_relative_to(mount[1])]
    device, _, system = max(around, key=lambda mount: len(mount[1]), default=["unknown", "", "unknown"])
    return f"{system} on {device}"
