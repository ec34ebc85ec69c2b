"""An edit goes through the loading path: types, bounds and rules are those of a stored record."""

from typing import Any

import pytest

from keeping.game import Item, Player
from realmkeep.errors import ActRefused
from realmkeep.operations.operators.editing import ABSENT, assign, edited
from realmkeep.records import CLAMP, DEFAULT_LIMITS, Limits, Record, durable


class Wizard(Record, kind="wizard", version=1):
    mana: int = durable(default=5, ge=0, le=10, on_invalid=CLAMP)
    spells: dict[str, int] = durable(default_factory=dict[str, int])


def ada() -> Player:
    return Player(name="Ada", gold=7, bank=[Item(item="rope", count=2)])


@pytest.mark.parametrize(
    ("field", "value", "before"),
    [
        ("gold", 9, 7),
        ("name", "Eve", "Ada"),
        ("bank[0].count", 3, 2),
        ("bank[1]", {"item": "lamp", "count": 1}, ABSENT),
        ("bank", [], [{"item": "rope", "count": 2}]),
        ("x", 2, 0.0),
    ],
)
def test_a_value_is_replaced_in_a_copy_and_assigned_from_it(field: str, value: Any, before: Any) -> None:
    record = ada()
    made = edited(record, field, value, DEFAULT_LIMITS)
    assert (made.before, made.after) == (before, value)
    assert record == ada()
    assign(record, made.record)
    assert record == made.record


def test_a_key_of_a_dictionary_is_added() -> None:
    made = edited(Wizard(), "spells.fire", 3, DEFAULT_LIMITS)
    assert isinstance(made.record, Wizard)
    assert (made.before, made.record.spells) == (ABSENT, {"fire": 3})


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("gold", -1, "at least 0"),
        ("gold", "much", "expected `int`"),
        ("gold", 2**70, "gold cannot be"),
        ("nothing", 1, "no stored field"),
        ("target", 1, "no stored field"),
        ("version", 1, "no stored field"),
        ("gold.x", 1, "there is no 'gold.x'"),
        ("bank[7].count", 1, "there is no"),
        ("bank[2]", {"item": "lamp"}, "there is no"),
        ("bank[0].weight", 1, "cannot be 1"),
        ("bank[", 1, "no stored field"),
        ("", 1, "no stored field"),
        ("gold gold", 1, "no stored field"),
        ("name", object(), "cannot be"),
    ],
)
def test_a_wrong_place_or_value_is_refused(field: str, value: Any, error: str) -> None:
    with pytest.raises(ActRefused, match=error.replace("[", r"\[")):
        edited(ada(), field, value, DEFAULT_LIMITS)


def test_a_value_that_loading_would_mend_is_refused() -> None:
    with pytest.raises(ActRefused, match="at most 10"):
        edited(Wizard(), "mana", 11, DEFAULT_LIMITS)


def test_a_record_that_would_be_too_large_is_refused() -> None:
    with pytest.raises(ActRefused, match="more than"):
        edited(ada(), "diary", "x" * 5000, Limits(bytes_max=2000))
