"""Validation of a record: the bounds of its fields, then its rules across fields.

The same rules apply to a record that was just loaded (`validate`, which also mends) and to a live one that is about to
be stored (`validate_live`, which never changes it).
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, TypeVar

import msgspec

from realmkeep.callables import fault_of
from realmkeep.errors import DefinitionError, Unstorable
from realmkeep.records.bounds import Bounds
from realmkeep.records.fields import CLAMP, OK, QUARANTINE, REJECT, RecordInfo, Validity
from realmkeep.records.issues import Issue, gravest_outcome, short_repr
from realmkeep.records.marking import MarkedRecord

log = logging.getLogger(__name__)

RuleResult: TypeAlias = Issue | Iterable[Issue] | None
"""The result of a rule: None, one issue, or several."""
RuleT = TypeVar("RuleT", bound=Callable[[Any], RuleResult])


@dataclass(frozen=True)
class Rule:
    """A rule across the fields of a record; a call returns the issues found."""

    function: Callable[[Any], RuleResult]
    on_invalid: Validity

    def __call__(self, record: object) -> tuple[Issue, ...]:
        """Run the rule. If it raises, the exception is logged and the record quarantined: an exception never passes one."""
        try:
            found = self.function(record)
            if found is None:
                return ()
            issues = (found,) if isinstance(found, Issue) else tuple(found)
        except Exception as error:
            log.exception("rule %s raised", self._name)
            return (self._broken(f"raised {type(error).__name__}"),)
        return tuple(self._with_outcome(issue) for issue in issues)

    def _with_outcome(self, issue: object) -> Issue:
        if not isinstance(issue, Issue):
            log.error("rule %s returned %s, not an issue", self._name, type(issue).__name__)
            return self._broken(f"returned {type(issue).__name__}, not an issue")
        outcome = self.on_invalid if issue.outcome is OK else issue.outcome
        if outcome is CLAMP and issue.mended is msgspec.UNSET:
            return Issue(issue.path, issue.value, f"{issue.rule} (the rule gave no mended value)", QUARANTINE)
        return Issue(issue.path, issue.value, issue.rule, outcome, issue.mended)

    def _broken(self, how: str) -> Issue:
        return Issue("", "unchecked", f"checked by the rule {self._name}, which {how}", QUARANTINE)

    @property
    def _name(self) -> str:
        return getattr(self.function, "__qualname__", repr(self.function))


def add_rule(info: RecordInfo, on_invalid: Validity) -> Callable[[RuleT], RuleT]:
    """Register a rule across fields, as `@Player.rule` and `@Player.rule(on_invalid=...)` do.

    A rule takes a record and returns None, an `issue(...)` or several. It changes nothing: it gives a mended value as
    `issue(..., mended=...)`, which is assigned after loading, never to a live record. Rules run in the order of their
    registration, after the bounds of the fields; each sees the mended values of those before it.

    Args:
        info: The record's declaration.
        on_invalid: The outcome of issues without one of their own.

    Raises:
        DefinitionError: `on_invalid` is `OK`, or the rule is not a plain function of one argument.
    """
    if on_invalid is OK:
        raise DefinitionError(f"{info.kind}: a rule with on_invalid=OK would let invalid records pass")

    def register(rule: RuleT) -> RuleT:
        if (fault := fault_of(rule, 1, may_yield=True)) is not None:
            raise DefinitionError(f"{info.kind}: a rule: {fault}", hint="a rule is a plain function of a record")
        info.rules.append(Rule(rule, on_invalid))
        return rule

    return register


def validate_live(record: MarkedRecord) -> tuple[Issue, ...]:
    """Check a record by its bounds and rules, without changing it; return the issues.

    Run it on a live record before every write, because the next login runs the same rules. It does not check types:
    encoding does. A value that cannot be compared with its bounds is reported as `REJECT`.

    Args:
        record: The record. A rule that breaks its promise and changes its argument changes this record.
    """
    return _issues_of(record, record.__blueprint__.bounds)


def validate_encoded(record: MarkedRecord) -> tuple[Issue, ...]:
    """As `validate_live`, for a record just encoded: `encode` has checked most bounds already.

    Args:
        record: The record, unchanged since `encode` returned its bytes.
    """
    blueprint = record.__blueprint__
    if not record.__marks__.within_bounds:
        return _issues_of(record, blueprint.bounds)
    if not blueprint.remaining_bounds.checks and not record.__realmkeep__.rules:
        return ()
    return _issues_of(record, blueprint.remaining_bounds)


def _issues_of(record: MarkedRecord, bounds: Bounds) -> tuple[Issue, ...]:
    issues: list[Issue] = []
    try:
        held = bounds.hold(record)
    except (TypeError, AttributeError):
        held = False
    if not held:
        _report_broken_bounds(record, bounds, issues)
    for rule in record.__realmkeep__.rules:
        issues += rule(record)
    return tuple(issues)


def _report_broken_bounds(record: MarkedRecord, bounds: Bounds, issues: list[Issue]) -> None:
    """Append an issue for each bound that a live record breaks."""
    for name, check in bounds.checks:
        value = getattr(record, name)
        try:
            if not check.holds(value):
                check.mend(value, name, issues)
        except (TypeError, AttributeError) as error:
            issues.append(Issue(name, short_repr(value), f"comparable with its bounds ({error})", REJECT))


def validate(record: MarkedRecord) -> tuple[Issue, ...]:
    """Check a record that was just read, and mend in place the values that are safe to mend; return the issues.

    A mended record is checked once more: an issue that remains is `QUARANTINE`. If the gravest outcome is
    beyond `CLAMP`, the record must not be used.

    Args:
        record: The record, whose types are right.
    """
    issues: list[Issue] = []
    for name, check in record.__blueprint__.bounds.checks:
        value = getattr(record, name)
        if not check.holds(value):
            setattr(record, name, check.mend(value, name, issues))
    for rule in record.__realmkeep__.rules:
        issues += [_assign_mended_value(record, found) for found in rule(record)]
    if gravest_outcome(issues) is CLAMP:
        issues += [
            replace(found, rule=f"{found.rule}, also after mending", outcome=max(found.outcome, QUARANTINE))
            for found in validate_live(record)
        ]
    return tuple(issues)


def _assign_mended_value(record: MarkedRecord, found: Issue) -> Issue:
    """Assign a rule's mended value; if that fails, the issue becomes `QUARANTINE`."""
    if found.outcome is not CLAMP:
        return found
    try:
        setattr(record, found.path, found.mended)
    except (AttributeError, Unstorable) as error:
        log.exception("a rule's mended value cannot be assigned")
        return replace(found, rule=f"{found.rule} (cannot be mended: {error})", outcome=QUARANTINE)
    return found
