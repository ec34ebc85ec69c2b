"""The report of validation: each broken rule, its place and its outcome."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from realmkeep.records.fields import OK, Validity

VALUE_SHOWN_MAX: Final = 80  # characters: enough to recognise a value, too few to flood a log


@dataclass(frozen=True)
class Issue:
    """One broken rule.

    Attributes:
        path: Its place, as `inventory[3].count`; empty for the whole record.
        value: The value found, as text of at most 80 characters.
        rule: The demand, as `at least 0`.
        outcome: The consequence. `OK`, the default of `issue`, stands for the rule's own `on_invalid`.
        mended: With `CLAMP`, the new value of the field `path`; otherwise `msgspec.UNSET`.
    """

    path: str
    value: str
    rule: str
    outcome: Validity
    mended: Any = field(default=msgspec.UNSET, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.path or 'the record'} is {self.value}, should be {self.rule}: {self.outcome.name}"


def issue(path: str, value: object, rule: str, outcome: Validity = OK, *, mended: Any = msgspec.UNSET) -> Issue:
    """Make the issue that a rule across fields returns.

    Args:
        path: The place: the name of a field, or a place inside one.
        value: The value found; the report shows the first 80 characters of its `repr`.
        rule: The demand, to be read after "should be": `at most max_hp`.
        outcome: The consequence; by default the rule's own `on_invalid`.
        mended: A valid value for the field `path`; `CLAMP` needs one.
    """
    return Issue(path, short_repr(value), rule, outcome, mended)


def gravest_outcome(issues: Collection[Issue]) -> Validity:
    """The gravest outcome of a report; `OK` if it has no issues."""
    return max(found.outcome for found in issues) if issues else OK


def short_repr(value: object) -> str:
    """`repr` of any value, shortened to 80 characters."""
    if isinstance(value, (str, bytes)):
        value = value[: VALUE_SHOWN_MAX + 1]
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a reported value may be broken in any way
        text = f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    return text if len(text) <= VALUE_SHOWN_MAX else f"{text[: VALUE_SHOWN_MAX - 3]}..."
