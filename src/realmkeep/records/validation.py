"""Whether a record keeps its rules: the bounds of its fields, then its functions across fields.

The same rules hold for a record that was just loaded (`validate`, which mends what is safe to mend) and for a live one
that is about to be stored (`validate_live`, which never touches it).
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
from realmkeep.records.issues import Issue, shown, worst
from realmkeep.records.marking import Live

log = logging.getLogger(__name__)

Found: TypeAlias = Issue | Iterable[Issue] | None
"""What a rule returns: nothing, one issue, or several."""
RuleT = TypeVar("RuleT", bound=Callable[[Any], Found])


@dataclass(frozen=True)
class Rule:
    """A function across the fields of a record; called with one, it returns the issues found."""

    function: Callable[[Any], Found]
    on_invalid: Validity

    def __call__(self, record: object) -> tuple[Issue, ...]:
        """Run the rule; whatever it raises is logged, and quarantines the record: it never passes one."""
        try:
            found = self.function(record)
            if found is None:
                return ()
            issues = (found,) if isinstance(found, Issue) else tuple(found)
        except Exception as error:
            log.exception("rule %s raised", self._name)
            return (self._broken(f"raised {type(error).__name__}"),)
        return tuple(self._settled(issue) for issue in issues)

    def _settled(self, issue: object) -> Issue:
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
    """Register a rule across fields; what `@Player.rule` and `@Player.rule(on_invalid=...)` do.

    A rule looks at a record and returns None, an `issue(...)` or several. It changes nothing: a value that may be mended
    is given as `issue(..., mended=...)`, and is assigned after loading, never to a live record. Rules run in the order of
    their registration, after the bounds of the fields; each sees what those before it mended.

    Args:
        info: The record's declaration.
        on_invalid: The outcome of the issues that state none themselves.

    Raises:
        DefinitionError: `on_invalid` is `OK`, or the rule is no plain function of one argument.
    """
    if on_invalid is OK:
        raise DefinitionError(f"{info.kind}: a rule with on_invalid=OK would let broken records pass")

    def register(rule: RuleT) -> RuleT:
        if (fault := fault_of(rule, 1, may_yield=True)) is not None:
            raise DefinitionError(f"{info.kind}: a rule: {fault}", hint="a rule is a plain function of a record")
        info.rules.append(Rule(rule, on_invalid))
        return rule

    return register


def validate_live(record: Live) -> tuple[Issue, ...]:
    """Check a record by its bounds and rules, and change nothing; empty if it keeps them.

    Run it on a live record before every write: the next login runs the same rules. Types are not its concern, encoding
    checks them; a value so foreign that its bounds cannot be asked is reported as `REJECT`.

    Args:
        record: The record; a rule that breaks its promise and changes it changes this one.
    """
    return _issues_of(record, record.__blueprint__.bounds)


def validate_encoded(record: Live) -> tuple[Issue, ...]:
    """As `validate_live`, of a record whose last encoding is of its present state: most bounds were seen to then.

    Args:
        record: As it was just given to `encode`, which has returned.
    """
    blueprint = record.__blueprint__
    if not record.__marks__.within:
        return _issues_of(record, blueprint.bounds)
    if not blueprint.beyond.checks and not record.__realmkeep__.rules:
        return ()
    return _issues_of(record, blueprint.beyond)


def _issues_of(record: Live, bounds: Bounds) -> tuple[Issue, ...]:
    issues: list[Issue] = []
    try:
        held = bounds.hold(record)
    except (TypeError, AttributeError):
        held = False
    if not held:
        _look_closer(record, bounds, issues)
    for rule in record.__realmkeep__.rules:
        issues += rule(record)
    return tuple(issues)


def _look_closer(record: Live, bounds: Bounds, issues: list[Issue]) -> None:
    """Tell which bounds a live record breaks."""
    for name, check in bounds.checks:
        value = getattr(record, name)
        try:
            if not check.holds(value):
                check.mend(value, name, issues)
        except (TypeError, AttributeError) as error:
            issues.append(Issue(name, shown(value), f"comparable with its bounds ({error})", REJECT))


def validate(record: Live) -> tuple[Issue, ...]:
    """Check a record that was just read, and mend in place what is safe to mend; empty if nothing was wrong.

    A mended record is checked once more: what is still broken then is `QUARANTINE`. If the gravest outcome (`worst`) is
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
        issues += [_mended(record, found) for found in rule(record)]
    if worst(issues) is CLAMP:
        issues += [
            replace(found, rule=f"{found.rule}, also after mending", outcome=max(found.outcome, QUARANTINE))
            for found in validate_live(record)
        ]
    return tuple(issues)


def _mended(record: Live, found: Issue) -> Issue:
    """Assign what a rule gives as the mended value; where that fails, the issue becomes `QUARANTINE`."""
    if found.outcome is not CLAMP:
        return found
    try:
        setattr(record, found.path, found.mended)
    except (AttributeError, Unstorable) as error:
        log.exception("the mended value of a rule cannot be assigned")
        return replace(found, rule=f"{found.rule} (cannot be mended: {error})", outcome=QUARANTINE)
    return found
