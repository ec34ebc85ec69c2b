"""The migration kit: checks for a game's own migrations before they are deployed."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from realmkeep.errors import RealmkeepError
from realmkeep.records.codecs import decode
from realmkeep.records.fields import CLAMP, OK, RecordInfo
from realmkeep.records.limits import DEFAULT_LIMITS, Limits
from realmkeep.records.loading import load
from realmkeep.records.migrations import check_migrations, run_step, stored_version
from realmkeep.records.plain import Plain, plain_copy
from realmkeep.records.record import Record

FAILURES_MAX: Final = 20  # in a report; enough to see a pattern


def check_steps_idempotent(cls: type[Record], samples: Iterable[bytes | Plain]) -> None:
    """Check that every step changes nothing if it runs on its own output, as the specification demands.

    Args:
        cls: The record class.
        samples: Stored bytes or plain dictionaries of old versions; together they must pass through every step.

    Raises:
        AssertionError: A step changed its own output (the field is named), or no sample reached it.
        MigrationFailed: A step failed.
    """
    info = cls.__realmkeep__
    unreached = set(info.migrations)
    for version, given in _passages(cls, samples):
        unreached.discard(version)
        once = run_step(plain_copy(given), info, version)
        twice = run_step(plain_copy(once), info, version)
        if difference := _first_difference(once, twice):
            raise AssertionError(f"{info.kind}: the migration from version {version} is not idempotent: {difference}")
    if unreached:
        raise AssertionError(f"{info.kind}: no sample reaches the migration from version {min(unreached)}; add one")


def check_steps_accept_missing_fields(cls: type[Record], samples: Iterable[bytes | Plain]) -> None:
    """Check that every step accepts an empty record, and each sample without any one of its fields.

    Args:
        cls: The record class.
        samples: As for `check_steps_idempotent`.

    Raises:
        AssertionError: A step failed without a field; the step and the field are named.
        MigrationFailed: A step failed on a complete sample.
    """
    info = cls.__realmkeep__
    for version in info.migrations:
        _try_without(info, version, {}, "any field")
    for version, given in _passages(cls, samples):
        for name in given:
            _try_without(info, version, {key: value for key, value in given.items() if key != name}, name)


def _try_without(info: RecordInfo, version: int, given: Plain, name: str) -> None:
    try:
        run_step(plain_copy(given), info, version)
    except RealmkeepError as error:
        raise AssertionError(f"{error.message}, on a record without {name}") from error


def _passages(cls: type[Record], samples: Iterable[bytes | Plain]) -> Iterator[tuple[int, Plain]]:
    """Yield every step that a sample passes through, with its input."""
    check_migrations(cls)
    info = cls.__realmkeep__
    for sample in samples:
        plain = decode(sample, cls, accept_unchecked=True) if isinstance(sample, bytes) else plain_copy(sample)
        for version in range(stored_version(plain, info), info.version):
            yield version, plain
            plain = run_step(plain_copy(plain), info, version)


def _first_difference(once: Plain, twice: Plain) -> str:
    """Describe the first field that differs in value or type; empty if none does."""
    for name in sorted(once.keys() | twice.keys()):
        one, other = (
            json.dumps(plain[name], sort_keys=True) if name in plain else "missing" for plain in (once, twice)
        )
        if one != other:
            return f"{name} is {one:.200} after one run, and {other:.200} after two"
    return ""


@dataclass(frozen=True)
class SampleFailure:
    """A stored record that did not load: its source, its outcome or error, and the message."""

    source: str
    outcome: str
    said: str


@dataclass
class SampleReport:
    """The results of loading a sample of stored records; `str()` gives them as text.

    Attributes:
        outcomes: The number of records by outcome (`OK`) or error (`Corrupt`).
        migrated_from: The number of migrated records by their stored version.
        failures: The first 20 records that a login would refuse.
    """

    outcomes: Counter[str] = field(default_factory=Counter[str])
    migrated_from: Counter[int] = field(default_factory=Counter[int])
    failures: list[SampleFailure] = field(default_factory=list[SampleFailure])

    @property
    def refused(self) -> int:
        """The number of records that a login would refuse."""
        return sum(count for name, count in self.outcomes.items() if name not in (OK.name, CLAMP.name))

    def __str__(self) -> str:
        lines = [f"{self.outcomes.total()} records, {self.refused} refused"]
        lines += [f"  {name}: {count}" for name, count in self.outcomes.most_common()]
        lines += [
            f"  migrated from version {version}: {count}" for version, count in sorted(self.migrated_from.items())
        ]
        lines += [f"  {failure.source}: {failure.outcome}: {failure.said}" for failure in self.failures]
        return "\n".join(lines)


def run_sample(
    cls: type[Record],
    source: Iterable[bytes] | Path,
    *,
    limits: Limits = DEFAULT_LIMITS,
    accept_unchecked: bool = False,
) -> SampleReport:
    """Load a sample of production bytes with today's code before it is deployed, and report the result of each.

    Args:
        cls: The record class.
        source: The stored bytes; or a directory with a file for each record; or a file with a record on each line. They
            are read one at a time.
        limits: As in production.
        accept_unchecked: As in production: accept JSON without a checksum.
    """
    report = SampleReport()
    for name, stored in _sample(source):
        try:
            loaded = load(stored, cls, limits=limits, accept_unchecked=accept_unchecked)
        except RealmkeepError as error:
            _count(report, name, type(error).__name__, str(error))
            continue
        _count(report, name, loaded.outcome.name, "; ".join(map(str, loaded.issues)))
        if loaded.migrated_from is not None:
            report.migrated_from[loaded.migrated_from] += 1
    return report


def _sample(source: Iterable[bytes] | Path) -> Iterator[tuple[str, bytes]]:
    if not isinstance(source, Path):
        yield from ((f"record {number}", stored) for number, stored in enumerate(source, start=1))
    elif source.is_dir():
        yield from ((path.name, path.read_bytes()) for path in sorted(source.iterdir()) if path.is_file())
    else:
        with source.open("rb") as lines:
            yield from (
                (f"line {number}", line.rstrip(b"\r\n")) for number, line in enumerate(lines, start=1) if line.strip()
            )


def _count(report: SampleReport, source: str, outcome: str, said: str) -> None:
    report.outcomes[outcome] += 1
    if outcome not in (OK.name, CLAMP.name) and len(report.failures) < FAILURES_MAX:
        report.failures.append(SampleFailure(source, outcome, said))
