"""A migration step sees the same, whichever codec wrote the old version, and whatever the field is today."""

import re
from typing import Any, TypeAlias, cast

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from realmkeep.errors import DefinitionError, RealmkeepError
from realmkeep.records.codecs import CODECS, Codec, encode
from realmkeep.records.fields import Keyword, durable
from realmkeep.records.loading import load
from realmkeep.records.record import Part, Record

Plain: TypeAlias = dict[str, Any]


class Item(Part):
    item: Keyword
    count: int = 1
    bound: bool = False
    label: str | None = None


class Pouch(Part):
    coins: tuple[Keyword, int] = ("gold", 0)
    ids: tuple[int, ...] = ()


numbers = st.integers(-(2**63), 2**63 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(["sword", "first_blood", "nil"])
names = st.sampled_from(["sword", "rope", "first-blood", "high_mage", "Frost Brand", "t", "{false}", "{}"])
items = st.builds(Item, item=names, count=numbers, bound=st.booleans(), label=st.none() | texts)
pouches = st.builds(Pouch, coins=st.tuples(names, numbers), ids=st.lists(numbers, max_size=3).map(tuple))
VALUES: dict[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    bool | None: st.none() | st.booleans(),
    int: numbers,
    float: floats,
    str: texts,
    str | None: st.none() | texts,
    Keyword: names,
    Item: items,
    Item | None: st.none() | items,
    Pouch: pouches,
    list[str]: st.lists(texts, max_size=4),
    list[int]: st.lists(numbers, max_size=4),
    list[bool]: st.lists(st.booleans(), max_size=4),
    list[Keyword]: st.lists(names, max_size=4),
    list[Item]: st.lists(items, max_size=3),
    list[Pouch]: st.lists(pouches, max_size=2),
    set[str]: st.sets(texts, max_size=4),
    tuple[Keyword, int]: st.tuples(names, numbers),
    tuple[Keyword, float, bool] | None: st.none() | st.tuples(names, floats, st.booleans()),
    tuple[int, ...]: st.lists(numbers, max_size=4).map(tuple),
    dict[str, int]: st.dictionaries(texts, numbers, max_size=3),
    dict[str, str]: st.dictionaries(texts, texts, max_size=3),
    dict[Keyword, int]: st.dictionaries(names, numbers, max_size=3),
    dict[Keyword, Keyword]: st.dictionaries(names, names, max_size=3),
    dict[int, str]: st.dictionaries(numbers, texts, max_size=3),
    dict[str, Item]: st.dictionaries(texts, items, max_size=2),
}
types = st.sampled_from(list(VALUES))
UNREGISTERED = {"__module__": __name__, "__qualname__": "<locals>.Satchel"}
SATCHELS: Any = type(Record)  # makes a class from annotations that only the test knows


def written(annotation: Any, value: object, codec: Codec) -> bytes:
    """What the release of version 1 stored."""
    namespace = {"__annotations__": {"bag": annotation, "name": str}, "bag": durable(), "name": durable(default="")}
    former: Any = SATCHELS("Satchel", (Record,), namespace | UNREGISTERED, kind="satchel", version=1)
    return encode(former(bag=value, name="Ada"), codec)


def seen(stored: bytes, today: Any, former: dict[str, Any] | None = None) -> Plain:
    """What the step from version 1 is given by a release in which the field is `today`."""
    namespace = {"__annotations__": {"bag": today, "name": str}, "bag": durable(), "name": durable(default="")}
    cls: Any = SATCHELS("Satchel", (Record,), namespace | UNREGISTERED, kind="satchel", version=2)
    given_to: list[Plain] = []

    @cls.migration(1, former=former)
    def step(plain: Plain) -> Plain:
        given_to.append(dict(plain))
        return plain

    try:
        load(stored, cls)
    except RealmkeepError as error:
        if not given_to:  # what the record then is, is not asked here
            pytest.fail(str(error))
    return given_to[0]


def exact(plain: Plain) -> str:
    """Tells 1 from 1.0 and True, whatever the order of keys."""
    return msgspec.json.encode(plain, order="deterministic").decode()


@settings(max_examples=600, deadline=None)
@given(st.data(), types, types)
def test_a_step_that_declares_the_former_type_sees_the_same_from_both_codecs(
    data: st.DataObject, former: Any, today: Any
) -> None:
    value = data.draw(VALUES[former])
    as_json, as_sexpr = (seen(written(former, value, codec), today, {"bag": former}) for codec in CODECS)
    assert exact(as_json) == exact(as_sexpr)


@settings(max_examples=400, deadline=None)
@given(st.data(), types)
def test_a_step_sees_a_field_that_never_changed_the_same_from_both_codecs(data: st.DataObject, kind: Any) -> None:
    value = data.draw(VALUES[kind])
    as_json, as_sexpr = (seen(written(kind, value, codec), kind) for codec in CODECS)
    assert exact(as_json) == exact(as_sexpr)


LISTS: tuple[Any, ...] = (list[str], list[int], list[Item], tuple[int, ...], list[Pouch])
KEYWORDS_FIRST: tuple[Any, ...] = (
    tuple[Keyword, int],
    tuple[Keyword, float, bool] | None,
    list[Keyword],
    Pouch,
    list[Pouch],
)
NAME = re.compile(r"[a-z0-9_]+")
DICTS: tuple[Any, ...] = (dict[str, int], dict[str, str], dict[str, Item], Item, Pouch)


@settings(max_examples=400, deadline=None)
@given(st.data(), st.sampled_from([*LISTS, *DICTS]), types)
def test_what_is_a_list_and_what_a_dictionary_does_not_depend_on_todays_type(
    data: st.DataObject, former: Any, today: Any
) -> None:
    """Without a declaration: all that the notation tells. What it does not tell is in docs/migrations.md."""
    value = data.draw(VALUES[former])
    assume(value)  # nil
    if former == list[str]:  # texts that are no names key a dictionary[str, str] as strings
        value = [text for text in value if NAME.fullmatch(text)] or ["sword"]
    as_json, as_sexpr = (seen(written(former, value, codec), today)["bag"] for codec in CODECS)
    if isinstance(as_json, dict):
        assume(today not in KEYWORDS_FIRST)  # these would have written it so
        assume(all(NAME.fullmatch(key) for key in cast("Plain", as_json)))
    assert isinstance(as_json, dict) is isinstance(as_sexpr, dict)


@pytest.mark.parametrize(
    ("stored", "today", "bag"),
    [
        (b"(:version 1 :bag (:sword 2 :rope 1))", list[str], {"sword": 2, "rope": 1}),
        (b"(:version 1 :bag (:sword 2 :rope 1))", tuple[Keyword, int] | None, {"sword": 2, "rope": 1}),
        (b"(:version 1 :bag (:item :sword :count 2))", list[Item], {"item": "sword", "count": 2}),
        (b'(:version 1 :bag ("sword" "rope"))', dict[str, str], ["sword", "rope"]),
        (b'(:version 1 :bag ("sword" "rope"))', dict[Keyword, Keyword], ["sword", "rope"]),
        (b"(:version 1 :bag (:sword :rope))", dict[str, int], ["sword", "rope"]),
        (b"(:version 1 :bag (7 8))", dict[int, str], [7, 8]),
        (b"(:version 1 :bag (:sword 2 :rope 1))", dict[str, int], {"sword": 2, "rope": 1}),
        (b"(:version 1 :bag (:town 3))", tuple[Keyword, int], ["town", 3]),
        (b"(:version 1 :bag 5)", float, 5),
        (b"(:version 1 :bag :{false})", str, False),
        (b"(:version 1 :bag nil)", bool, False),
        (b"(:bag (:sword 2 :rope 1))", list[str], {"sword": 2, "rope": 1}),
        (b'(:bag ("sword" "rope") :version 1)', dict[str, str], ["sword", "rope"]),
    ],
)
def test_what_a_step_sees_of_an_old_field(stored: bytes, today: Any, bag: object) -> None:
    assert exact({"bag": seen(stored, today)["bag"]}) == exact({"bag": bag})


@pytest.mark.parametrize(
    ("stored", "former", "bag"),
    [
        (b"(:version 1 :bag nil)", dict[str, int], {}),
        (b"(:version 1 :bag nil)", list[str], []),
        (b"(:version 1 :bag nil)", bool, False),
        (b"(:version 1 :bag nil)", str | None, None),
        (b"(:version 1 :bag (:sword :rope))", dict[Keyword, Keyword], {"sword": "rope"}),
        (b"(:version 1 :bag (:iron-sword 1))", dict[Keyword, int], {"iron-sword": 1}),
        (b"(:version 1 :bag (:iron-sword 1))", dict[str, int], {"iron_sword": 1}),
    ],
)
@pytest.mark.parametrize("today", [int, list[Item], dict[str, Item], str])
def test_a_declared_type_says_what_the_notation_does_not(stored: bytes, former: Any, today: Any, bag: object) -> None:
    assert exact({"bag": seen(stored, today, {"bag": former})["bag"]}) == exact({"bag": bag})


def test_the_declaration_of_a_later_step_holds_for_every_version_before() -> None:
    saw: list[object] = []

    class Chest(Record, kind="former-chest", version=4):
        bag: list[str] = durable(default_factory=list)

    @Chest.migration(1)
    def first(plain: Plain) -> Plain:
        saw.append(plain["bag"])
        return plain

    @Chest.migration(2, former={"bag": dict[Keyword, int]})
    def second(plain: Plain) -> Plain:
        saw.append(plain["bag"])
        return plain | {"bag": sorted(plain["bag"])}

    @Chest.migration(3)
    def third(plain: Plain) -> Plain:
        return plain

    assert len({first, second, third}) == 3
    assert load(b"(:version 1 :bag (:iron-sword 2))", Chest).require().bag == ["iron-sword"]
    assert saw == [{"iron-sword": 2}] * 2
    assert load(b"(:version 3 :bag (:rope :sword))", Chest).require().bag == ["rope", "sword"]


def test_a_former_type_that_could_never_be_stored_is_refused() -> None:
    class Crate(Record, kind="former-crate", version=2):
        bag: list[str] = durable(default_factory=list)

    with pytest.raises(DefinitionError, match=r"former former-crate\.bag.*bytes"):
        Crate.migration(1, former={"bag": bytes})
