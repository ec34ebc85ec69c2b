"""What encoding sees to of a record's bounds is what asking each bound says."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmkeep.records import Part, Record, durable, encode, validate_encoded
from realmkeep.records.marking import marks_of
from realmkeep.records.validation import validate_live

COLOURS = {"red", "blue"}


class Gem(Part):
    weight: int = durable(default=1, ge=1, le=9)
    colour: str = durable(default="red", length_max=4)


class Rune(Part):
    colour: str = durable(default="red", known=COLOURS.__contains__)
    power: int = durable(default=1, ge=0)


class Pouch(Record, kind="pouch-of-narrowing", version=1):
    gold: int = durable(default=5, ge=0, le=10)
    debt: int = durable(default=-5, le=0)
    share: float = durable(default=0.5, ge=0, le=1)
    odd: int = durable(default=2, ge=1.5, le=3.5)
    huge: int = durable(default=2**62, ge=2**62)
    name: str = durable(default="Ada", length_max=4)
    title: str | None = durable(default=None, length_max=4)
    maybe: int | None = durable(default=None, ge=0)
    either: int | str = durable(default=1, ge=0, length_max=3)
    gems: list[Gem] = durable(default_factory=list, length_max=2)
    pairs: list[tuple[int, float]] = durable(default_factory=list, ge=0)
    counts: dict[str, int] = durable(default_factory=dict, ge=0, length_max=2)
    by_number: dict[int, int] = durable(default_factory=dict, ge=0)
    seen: set[int] = durable(default_factory=set, ge=0)
    jewel: Gem | None = durable(default=None)
    free: list[int] = durable(default_factory=list)
    rune: Rune | None = durable(default=None)
    colour: str = durable(default="red", known=COLOURS.__contains__)
    above: int = durable(default=1, ge=-math.inf, le=math.inf)


KEPT: list[tuple[str, Any]] = [
    ("gold", 0),
    ("gold", 10),
    ("debt", -(2**63)),
    ("share", 1.0),
    ("odd", 3),
    ("huge", 2**63 - 1),
    ("name", "Äädä"),
    ("title", "Sir"),
    ("maybe", 0),
    ("either", "abc"),
    ("gems", [Gem(1), Gem(9)]),
    ("pairs", [(0, 0.0), (1, 2.5)]),
    ("counts", {"a": 0, "b": 1}),
    ("by_number", {-1: 0}),
    ("seen", {0, 1}),
    ("jewel", Gem(9, "blue")),
    ("free", [-1]),
    ("rune", Rune("blue")),
    ("colour", "blue"),
    ("above", -(2**63)),
]
BROKEN: list[tuple[str, Any]] = [
    ("gold", -1),
    ("gold", 11),
    ("debt", 1),
    ("share", 1.5),
    ("share", -0.25),
    ("odd", 1),
    ("odd", 4),
    ("huge", 2**62 - 1),
    ("name", "Äädäm"),
    ("title", "Baron"),
    ("maybe", -1),
    ("either", -1),
    ("either", "abcd"),
    ("gems", [Gem(), Gem(), Gem()]),
    ("gems", [Gem(1), Gem(0)]),
    ("gems", [Gem(1, "green")]),
    ("pairs", [(0, -0.5)]),
    ("pairs", [(-1, 0.5)]),
    ("counts", {"a": -1}),
    ("counts", {"a": 1, "b": 1, "c": 1}),
    ("by_number", {1: -1}),
    ("seen", {-1}),
    ("jewel", Gem(10)),
    ("rune", Rune("green")),
    ("rune", Rune("red", -1)),
    ("colour", "green"),
]


@pytest.mark.parametrize(("field", "value"), KEPT)
def test_what_keeps_its_bounds_is_seen_by_the_encoder_alone(field: str, value: Any) -> None:
    pouch = Pouch()
    setattr(pouch, field, value)
    encode(pouch)
    assert marks_of(pouch).within_bounds
    assert validate_encoded(pouch) == validate_live(pouch) == ()


@pytest.mark.parametrize(("field", "value"), BROKEN)
def test_what_breaks_a_bound_is_told_as_ever(field: str, value: Any) -> None:
    pouch = Pouch()
    encode(pouch)
    setattr(pouch, field, value)
    encode(pouch)
    issues = validate_encoded(pouch)
    assert issues == validate_live(pouch)
    assert [issue.path.partition("[")[0].partition(".")[0] for issue in issues] == [field]


def test_a_mended_record_is_within_again_and_one_taken_back_as_well() -> None:
    pouch = Pouch()
    good = encode(pouch)
    pouch.gold = 11
    encode(pouch)
    assert validate_encoded(pouch)
    pouch.gold = 5
    assert encode(pouch) == good
    assert validate_encoded(pouch) == ()


pouches = st.builds(
    Pouch,
    gold=st.integers(-1, 11),
    share=st.floats(-0.5, 1.5),
    odd=st.integers(0, 5),
    maybe=st.none() | st.integers(-1, 1),
    either=st.integers(-1, 1) | st.text(max_size=5),
    gems=st.lists(st.builds(Gem, st.integers(0, 10), st.text(max_size=5)), max_size=3),
    pairs=st.lists(st.tuples(st.integers(-1, 5), st.floats(-1, 5)), max_size=2),
    counts=st.dictionaries(st.text(max_size=2), st.integers(-1, 5), max_size=3),
    seen=st.sets(st.integers(-1, 5), max_size=3),
    rune=st.none() | st.builds(Rune, st.sampled_from(["red", "green"]), st.integers(-1, 1)),
)


@given(pouches)
def test_encoding_and_asking_agree(pouch: Pouch) -> None:
    encode(pouch)
    assert validate_encoded(pouch) == validate_live(pouch)
