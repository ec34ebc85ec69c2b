"""What validation reports: the rules a record breaks, where, and what that leads to."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from realmkeep.records.fields import OK, Validity

VALUE_SHOWN_MAX: Final = 80  # characters: enough to recognise a value, too few to fill a log


@dataclass(frozen=True)
class Issue:
    """One broken rule.

    Attributes:
        path: Where: `inventory[3].count`; empty for the record as a whole.
        value: The value found, as text of at most 80 characters.
        rule: What it should have been: `at least 0`.
        outcome: What it leads to. `OK`, as `issue` leaves it, stands for what the rule declares as `on_invalid`.
        mended: The value that the field `path` gets where the outcome is `CLAMP`; `msgspec.UNSET` where there is none.
    """

    path: str
    value: str
    rule: str
    outcome: Validity
    mended: Any = field(default=msgspec.UNSET, repr=False, compare=False)

    def __str__(self) -> str:
        return f"{self.path or 'the record'} is {self.value}, should be {self.rule}: {self.outcome.name}"


def issue(path: str, value: object, rule: str, outcome: Validity = OK, *, mended: Any = msgspec.UNSET) -> Issue:
    """What a rule across fields returns when it is broken.

    Args:
        path: Where: the name of a field, or a place inside one.
        value: The value found; the report shows the first 80 characters of its `repr`.
        rule: What it should have been, to be read after "should be": `at most max_hp`.
        outcome: What it leads to; left out, the rule's own `on_invalid`.
        mended: A valid value for the field `path`, which `CLAMP` needs.
    """
    return Issue(path, shown(value), rule, outcome, mended)


def worst(issues: Collection[Issue]) -> Validity:
    """The outcome of a report: of several, the gravest; `OK` for none."""
    return max(found.outcome for found in issues) if issues else OK


def shown(value: object) -> str:
    """`repr` of the value, shortened to 80 characters, whatever it is."""
    if isinstance(value, (str, bytes)):
        value = value[: VALUE_SHOWN_MAX + 1]
    try:
        text = repr(value)
    except Exception as error:  # noqa: BLE001 - a report is made of values that may be broken in any way
        text = f"<{type(value).__name__}, whose repr raises {type(error).__name__}>"
    return text if len(text) <= VALUE_SHOWN_MAX else f"{text[: VALUE_SHOWN_MAX - 3]}..."
