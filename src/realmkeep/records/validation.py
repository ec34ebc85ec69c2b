"""Whether a record keeps its rules: the bounds of its fields, then its functions across fields.

The same rules hold for a record that was just loaded (`validate`, which mends what is safe to mend) and for a live one
that is about to be stored (`validate_live`, which never touches it).
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, overload

import msgspec

from realmkeep.errors import DefinitionError
from realmkeep.records.fields import CLAMP, OK, QUARANTINE, REJECT, RecordInfo, Validity
from realmkeep.records.issues import Issue

log = logging.getLogger(__name__)

T = TypeVar("T")
Found: TypeAlias = Issue | Iterable[Issue] | None
"""What a rule returns: nothing, one issue, or several."""
RuleFunction: TypeAlias = Callable[[T], Found]


@dataclass(frozen=True)
class Rule:
    """A function across the fields of a record; called with one, it returns the issues found."""

    function: RuleFunction[Any]
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


RuleT = TypeVar("RuleT", bound=Callable[[Any], Found])


@overload
def add_rule(info: RecordInfo, function: RuleT) -> RuleT: ...
@overload
def add_rule(info: RecordInfo, *, on_invalid: Validity) -> Callable[[RuleT], RuleT]: ...
def add_rule(info: RecordInfo, function: Callable[[Any], Found] | None = None, *, on_invalid: Validity = REJECT) -> Any:
    """Register a rule across fields; what `@Player.rule` and `@Player.rule(on_invalid=...)` do.

    A rule looks at a record and returns None, an `issue(...)` or several. It changes nothing: a value that may be mended
    is given as `issue(..., mended=...)`, and is put there after loading, never into a live record.

    Args:
        info: The record's declaration.
        function: The rule.
        on_invalid: The outcome of the issues that state none themselves.

    Raises:
        DefinitionError: `on_invalid` is `OK`.
    """
    if on_invalid is OK:
        raise DefinitionError(f"{info.kind}: a rule with on_invalid=OK would let broken records pass")

    def register(rule: RuleT) -> RuleT:
        info.rules.append(Rule(rule, on_invalid))
        return rule

    return register if function is None else register(function)
