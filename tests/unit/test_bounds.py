"""What a field declares about its values, compiled: what holds, what is reported and where, what is mended."""

from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from realmkeep.errors import DefinitionError
from realmkeep.records.bounds import BoundsCompiler, Check
from realmkeep.records.fields import CLAMP, OK, QUARANTINE, REJECT, FieldInfo, durable
from realmkeep.records.issues import Issue


class Item(msgspec.Struct, frozen=True):
    item: str
    count: int = 1


class Coins(msgspec.Struct, frozen=True):
    amount: int


class Bag(msgspec.Struct, frozen=True):
    items: list[Item]
    bags: "list[Bag]" = []


DECLARED: dict[type, dict[str, tuple[Any, Any]]] = {
    Item: {"item": (str, durable(length_max=5)), "count": (int, durable(ge=0, le=100, on_invalid=CLAMP))},
    Coins: {"amount": (int, durable(ge=0))},
    Bag: {"items": (list[Item], durable(length_max=3)), "bags": (list[Bag], durable())},
}


def declared(part: type) -> list[FieldInfo]:
    return [replace(info, name=name, type=annotation) for name, (annotation, info) in DECLARED[part].items()]


def compiled(annotation: Any, info: Any) -> Check | None:
    return BoundsCompiler(declared).field(replace(info, name="field", type=annotation), "Player")


def judged(annotation: Any, info: Any, value: object) -> tuple[Any, list[tuple[str, str, int]]]:
    """The mended value, and the path, rule and outcome of every issue."""
    check = compiled(annotation, info)
    assert check is not None
    issues = list[Issue]()
    mended = check.mend(value, "field", issues)
    assert check.holds(value) == (not issues), "the fast answer and the report agree"
    return mended, [(issue.path, issue.rule, issue.outcome) for issue in issues]


def in_lists(value: object) -> bool:
    return value in {"sword", "coins"}


def test_a_number_beyond_its_bounds_is_clamped_to_the_nearer_one() -> None:
    bounds = durable(ge=0, le=100, on_invalid=CLAMP)
    assert judged(int, bounds, 0) == (0, [])
    assert judged(int, bounds, 100) == (100, [])
    assert judged(int, bounds, -1) == (0, [("field", "at least 0", CLAMP)])
    assert judged(int, bounds, 101) == (100, [("field", "at most 100", CLAMP)])


def test_what_is_not_clamped_stays_as_it_was_found() -> None:
    assert judged(int, durable(ge=0), -5) == (-5, [("field", "at least 0", REJECT)])
    assert judged(int, durable(le=3, on_invalid=QUARANTINE), 5) == (5, [("field", "at most 3", QUARANTINE)])


def test_an_integer_is_clamped_to_an_integer_within_fractional_bounds() -> None:
    mended, _ = judged(int, durable(ge=0.5, le=2.5, on_invalid=CLAMP), 0)
    assert (mended, type(mended)) == (1, int)
    mended, _ = judged(int, durable(ge=0.5, le=2.5, on_invalid=CLAMP), 9)
    assert (mended, type(mended)) == (2, int)


def test_a_float_is_clamped_to_a_float() -> None:
    mended, issues = judged(float, durable(ge=0, le=100, on_invalid=CLAMP), 100.5)
    assert (mended, type(mended), issues) == (100.0, float, [("field", "at most 100.0", CLAMP)])


def test_none_passes_where_the_type_allows_it() -> None:
    assert judged(int | None, durable(default=None, ge=0), None) == (None, [])
    assert judged(int | None, durable(default=None, ge=0), -1) == (-1, [("field", "at least 0", REJECT)])


def test_an_integer_in_a_field_of_floats_keeps_their_bounds() -> None:
    assert judged(float | None, durable(default=None, ge=0), -1)[1] == [("field", "at least 0.0", REJECT)]


@pytest.mark.parametrize("value", [-1, -1.5])
def test_a_field_of_integers_or_floats_is_checked_as_either(value: float) -> None:
    (found,) = judged(int | float | str, durable(ge=0), value)[1]
    assert (found[0], float(found[1].removeprefix("at least ")), found[2]) == ("field", 0.0, REJECT)
    assert judged(int | float | str, durable(ge=0), "text")[1] == []


def test_length_counts_characters_and_entries() -> None:
    assert judged(str, durable(length_max=3), "abc")[1] == []
    assert judged(str, durable(length_max=3), "abcd")[1] == [("field", "at most 3 long, not 4", REJECT)]
    assert judged(list[str], durable(length_max=1), ["abcd"])[1] == []
    assert judged(list[str], durable(length_max=1), ["a", "b"])[1] == [("field", "at most 1 long, not 2", REJECT)]
    assert judged(dict[str, int], durable(length_max=1), {"a": 1, "b": 2})[1] == [
        ("field", "at most 1 long, not 2", REJECT)
    ]


def test_known_asks_for_the_value_of_a_field_and_for_each_entry_of_a_container() -> None:
    known = durable(known=in_lists, on_invalid=QUARANTINE)
    assert judged(str, known, "sword")[1] == []
    assert judged(str, known, "sward")[1] == [("field", "known to the game", QUARANTINE)]
    assert judged(list[str], known, ["sword", "sward"])[1] == [("field[1]", "known to the game", QUARANTINE)]
    assert judged(dict[str, int], known, {"coins": 1, "x": 2})[1] == [("field['x']", "known to the game", QUARANTINE)]
    assert judged(frozenset[str], known, frozenset({"sword"}))[1] == []


def test_a_known_that_raises_does_not_let_the_value_pass() -> None:
    _, issues = judged(list[Any], durable(known=in_lists, on_invalid=QUARANTINE), ["sword", {"a": 1}])
    assert issues == [("field[1]", "known to the game (asking raised TypeError)", QUARANTINE)]


def test_bounds_of_a_container_speak_of_every_number_inside() -> None:
    counts = durable(ge=0, on_invalid=CLAMP)
    assert judged(list[int], counts, [1, -1, -2]) == (
        [1, 0, 0],
        [("field[1]", "at least 0", CLAMP), ("field[2]", "at least 0", CLAMP)],
    )
    assert judged(dict[str, int], counts, {"a": -1, "b": 1}) == (
        {"a": 0, "b": 1},
        [("field['a']", "at least 0", CLAMP)],
    )
    assert judged(tuple[str, int], counts, ("a", -1)) == (("a", 0), [("field[1]", "at least 0", CLAMP)])
    assert judged(dict[str, list[int]], counts, {"a": [-1]})[0] == {"a": [0]}


def test_the_fields_of_a_part_are_checked_wherever_it_is() -> None:
    cut = [("field[0].count", "at most 100", CLAMP), ("field[1].item", "at most 5 long, not 6", REJECT)]
    found = [Item("sword", 101), Item("shield", 1)]
    assert judged(list[Item], durable(), found) == ([Item("sword", 100), Item("shield", 1)], cut)
    assert judged(Item | None, durable(), Item("axe", -1)) == (Item("axe", 0), [("field.count", "at least 0", CLAMP)])
    assert judged(dict[str, Item], durable(), {"left": Item("axe", -1)})[0] == {"left": Item("axe", 0)}
    assert found == [Item("sword", 101), Item("shield", 1)], "what was found is not changed in place"


def test_a_union_of_parts_is_checked_by_the_class_at_hand() -> None:
    _, issues = judged(list[Item | Coins], durable(), [Coins(-1), Item("axe", -1)])
    assert issues == [("field[0].amount", "at least 0", REJECT), ("field[1].count", "at least 0", CLAMP)]


def test_a_part_may_contain_its_own_kind() -> None:
    bag = Bag([], [Bag([Item("axe", -1)]), Bag([Item("axe")] * 4)])
    mended, issues = judged(Bag, durable(), bag)
    assert mended.bags[0].items == [Item("axe", 0)]
    assert issues == [
        ("field.bags[0].items[0].count", "at least 0", CLAMP),
        ("field.bags[1].items", "at most 3 long, not 4", REJECT),
    ]


def test_a_field_that_declares_nothing_costs_nothing() -> None:
    class Flag(msgspec.Struct, frozen=True):
        name: str

    def nothing(part: type) -> list[FieldInfo]:
        return [replace(durable(), name="name", type=str)] if part is Flag else []

    for annotation in (int, str, list[int], dict[str, Flag], list[Flag] | None, Literal["a"]):
        assert BoundsCompiler(nothing).field(replace(durable(), name="f", type=annotation), "P") is None


def test_annotated_types_are_seen_through() -> None:
    level = Annotated[int, msgspec.Meta(description="levels")]
    assert judged(level, durable(ge=1), 0)[1] == [("field", "at least 1", REJECT)]
    assert judged(list[level | None], durable(ge=1), [None, 0])[1] == [("field[1]", "at least 1", REJECT)]


@pytest.mark.parametrize(
    ("annotation", "info", "why"),
    [
        (str, durable(ge=0), "ge cannot apply to <class 'str'>"),
        (bool, durable(le=1), "le cannot apply"),
        (list[Item], durable(ge=0, le=1), "ge and le cannot apply"),
        (int, durable(length_max=3), "length_max cannot apply"),
        (int, durable(ge=2, le=1), "no value is at least 2 and at most 1"),
        (int, durable(default=5, le=4), "the default 5 is not at most 4"),
        (str, durable(default="long", length_max=3), "the default 'long' is not at most 3 long"),
        (int, durable(ge=0, on_invalid=OK), "would let invalid values pass"),
        (int, durable(on_invalid=CLAMP), "nothing to clamp to"),
        (str, durable(length_max=3, on_invalid=CLAMP), "would destroy"),
        (str, durable(known=in_lists, on_invalid=CLAMP), "would destroy"),
    ],
)
def test_bounds_that_cannot_be_meant_are_refused_at_the_definition(annotation: Any, info: Any, why: str) -> None:
    with pytest.raises(DefinitionError, match=rf"Player\.field: .*{why}"):
        compiled(annotation, info)


def test_the_game_s_lists_are_not_asked_at_the_definition() -> None:
    def unread(value: object) -> bool:
        raise AssertionError("the lists are not there yet")

    assert compiled(str, durable(default="town", known=unread, on_invalid=QUARANTINE)) is not None


KINDS: dict[str, tuple[Any, Callable[[], st.SearchStrategy[Any]]]] = {
    "list": (list[int], lambda: st.lists(st.integers(-9, 9))),
    "dict": (dict[str, int | None], lambda: st.dictionaries(st.text(), st.none() | st.integers(-9, 9))),
    "set": (set[int], lambda: st.sets(st.integers(-9, 9))),
    "nested": (list[list[int]], lambda: st.lists(st.lists(st.integers(-9, 9)))),
}


@given(st.data(), st.sampled_from(sorted(KINDS)), st.integers(-9, 0), st.integers(0, 9))
def test_what_was_clamped_keeps_the_bounds(data: st.DataObject, kind: str, ge: int, le: int) -> None:
    annotation, values = KINDS[kind]
    bounds = durable(ge=ge, le=le, on_invalid=CLAMP)
    mended, _ = judged(annotation, bounds, data.draw(values()))
    assert judged(annotation, bounds, mended) == (mended, [])
