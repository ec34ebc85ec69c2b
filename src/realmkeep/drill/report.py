"""The report of a drill, as JSON; reports of one store add up."""

from __future__ import annotations

import platform
from datetime import UTC, datetime
from importlib import metadata
from typing import TYPE_CHECKING, Final

import msgspec

from realmkeep.clock import SystemClock
from realmkeep.drill.checks import DOUBLED, LOST, check_of

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT: Final = 1


class Verdict(msgspec.Struct):
    """The verdict on one fault.

    Attributes:
        rounds: How often it was struck.
        fired: How often a measurement showed that it happened.
        mixed: In how many rounds another fault happened meanwhile.
        acknowledged: Operations that were acknowledged in its rounds.
        lost: Violations of `durable`, `window` and `corruption`.
        doubled: Violations of `once`, `invented`, `atomic`, `conserved`, `owner` and `revisions`.
        stuck: Violations of `recovery`.
        window_s: The age of the oldest change of tier 2 that was lost.
        power_s: The age of the oldest acknowledgement that a loss of power took from a store which syncs late.
        recovery_s: The longest time from its end to the next acknowledgements.
        evidence: The last measurement.
    """

    rounds: int = 0
    fired: int = 0
    mixed: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    stuck: int = 0
    window_s: float = 0.0
    power_s: float = 0.0
    recovery_s: float = 0.0
    evidence: str = ""

    @property
    def violations(self) -> int:
        """All of them."""
        return self.lost + self.doubled + self.stuck

    def blame(self, violations: Iterable[str]) -> None:
        """Count violations."""
        for violation in violations:
            name = check_of(violation)
            self.lost += name in LOST
            self.doubled += name in DOUBLED
            self.stuck += name not in LOST | DOUBLED

    def add(self, other: Verdict) -> None:
        """Add the verdict of another drill."""
        for name in ("rounds", "fired", "mixed", "acknowledged", "lost", "doubled", "stuck"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("window_s", "power_s", "recovery_s"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        self.evidence = other.evidence or self.evidence


class StoreReport(msgspec.Struct):
    """The drills of one store.

    Attributes:
        store: Its name on the command line.
        engine: Its engine and version.
        lossless: Whether it promises to sync before it answers.
        seeds: The seeds that were played.
        seconds: The time that they took.
        servers: The number of servers.
        bots: The number of players.
        promised_s: The interval of tier 2 in the drill.
        game: `module:attribute` of a studio's game; empty for the drill's own.
        faults: The verdict on each fault.
        controls: How often each control was caught, and how often it was tried.
        not_run: The faults that were not tried, with the reason.
        violations: Violations, in words.
    """

    store: str
    engine: str
    lossless: bool
    seeds: list[int]
    seconds: float
    servers: int
    bots: int
    promised_s: float
    game: str = ""
    faults: dict[str, Verdict] = {}
    controls: dict[str, tuple[int, int]] = {}
    not_run: dict[str, str] = {}
    violations: list[str] = []

    @property
    def failed(self) -> bool:
        """Whether anything was lost or doubled, or a control was not caught."""
        return bool(self.violations) or any(caught < tried for caught, tried in self.controls.values())

    def add(self, other: StoreReport) -> None:
        """Add another drill of the same store."""
        for name, verdict in other.faults.items():
            self.faults.setdefault(name, Verdict()).add(verdict)
        for name, (caught, tried) in other.controls.items():
            before = self.controls.get(name, (0, 0))
            self.controls[name] = before[0] + caught, before[1] + tried
        self.not_run = {name: why for name, why in {**self.not_run, **other.not_run}.items() if name not in self.faults}
        self.violations += other.violations
        self.seeds += other.seeds
        self.seconds += other.seconds
        self.engine, self.servers, self.bots, self.promised_s = (
            other.engine,
            other.servers,
            other.bots,
            other.promised_s,
        )


class Results(msgspec.Struct):
    """The file of results.

    Attributes:
        format: The version of its form.
        date: The day of the last drill.
        version: The version of Realmkeep.
        python: The version of Python.
        stores: A report for each store and game.
    """

    format: int
    date: str
    version: str
    python: str
    stores: list[StoreReport]

    def add(self, report: StoreReport) -> None:
        """Add a drill to those of its store and game."""
        for each in self.stores:
            if (each.store, each.game) == (report.store, report.game):
                each.add(report)
                return
        self.stores.append(report)


def read_results(content: bytes) -> Results:
    """Read a file of results.

    Raises:
        ValueError: It is none, or of another version.
    """
    results = msgspec.json.decode(content, type=Results)
    if results.format != FORMAT:
        raise ValueError(f"results of format {results.format}; this release reads {FORMAT}")
    return results


def add_to_results(content: bytes, report: StoreReport) -> bytes:
    """Return a file of results with one more drill, for today and this release.

    Args:
        content: The file; empty for a new one.
        report: The drill.

    Raises:
        ValueError: The file is none of results, or of another version.
    """
    today = datetime.fromtimestamp(SystemClock().wall_us() / 1e6, UTC).date().isoformat()
    release, python = metadata.version("realmkeep"), platform.python_version()
    results = read_results(content) if content else Results(FORMAT, today, release, python, [])
    results.date, results.version, results.python = today, release, python
    results.add(report)
    return msgspec.json.format(msgspec.json.encode(results)) + b"\n"
