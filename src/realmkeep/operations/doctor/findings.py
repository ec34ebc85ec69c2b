"""A finding of doctor, and the report of one examination."""

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

Grade = Literal["danger", "warning", "advice"]
Outcome = Literal["examined", "unavailable", "misconfigured"]

GRADES: Final[tuple[Grade, ...]] = ("danger", "warning", "advice")
NO_PROMISE: Final = "nothing, because it could not be examined"


class Finding(msgspec.Struct, frozen=True):
    """One fault.

    Attributes:
        name: A short name that stays the same; `--accept` takes it.
        grade: `danger`: players' data can be lost or read by others. `warning`: the realm can become slow or stop.
            `advice`: a later question will have no answer.
        what: The fault, as it was found.
        why: Its consequence.
        mend: The line that mends it.
        settings: Names and values for `CONFIG SET` that mend it and can lose nothing; empty if an operator must decide.
        promise: The promise of the store as long as this stands, in one clause; empty if it does not change the promise.
    """

    name: str
    grade: Grade
    what: str
    why: str
    mend: str
    settings: tuple[tuple[str, str], ...] = ()
    promise: str = ""


class Examined(msgspec.Struct):
    """The facts about one store, collected by its examiner.

    Attributes:
        engine: The name and version of its engine; empty if it did not answer.
        promise: Its promise if there were no findings, in one clause.
        findings: In any order.
        unexamined: The parts that could not be examined, one sentence each with the reason.
    """

    engine: str = ""
    promise: str = NO_PROMISE
    findings: list[Finding] = msgspec.field(default_factory=list[Finding])
    unexamined: list[str] = msgspec.field(default_factory=list[str])


class Report(msgspec.Struct, frozen=True):
    """The result of one examination.

    Attributes:
        store: The store's URL without secrets.
        engine: The name and version of its engine; empty if it did not answer.
        outcome: `unavailable`: the store did not answer. `misconfigured`: Realmkeep cannot use it as it is.
        error: The reason, if the outcome is not `examined`; otherwise empty.
        findings: The gravest first, without accepted ones.
        accepted: The findings that an operator has accepted.
        unexamined: The parts that could not be examined, one sentence each with the reason.
        promise: The promise that this store can make as it is now, in one sentence.
    """

    store: str
    engine: str
    outcome: Outcome
    error: str
    findings: tuple[Finding, ...]
    accepted: tuple[Finding, ...]
    unexamined: tuple[str, ...]
    promise: str


def by_gravity(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return findings, the gravest grade first, each grade in the order of its discovery."""
    return tuple(sorted(findings, key=lambda finding: GRADES.index(finding.grade)))


def promise_of(examined: Examined) -> str:
    """Return the promise of a store, as weak as its gravest finding makes it, in one sentence."""
    weaker = (finding.promise for finding in by_gravity(examined.findings) if finding.promise)
    return f"This store promises: {next(weaker, examined.promise)}."
