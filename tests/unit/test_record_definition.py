import enum
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, ClassVar, Literal, NewType, cast
from uuid import UUID

import msgspec
import pytest

from realmkeep.errors import DefinitionError
from realmkeep.records.fields import (
    CLAMP,
    IMMEDIATE,
    Keyword,
    changed,
    drops_to,
    durable,
    ephemeral,
    rises,
)
from realmkeep.records.json_codec import decode_record, encode
from realmkeep.records.record import Part, Record


class Item(Part):
    item: Keyword
    count: int = 1


class Loose(msgspec.Struct):
    count: int


@dataclass
class Plain:
    count: int = field(default=0)


class Rank(enum.StrEnum):
    NOVICE = "novice"
    MASTER = "master"


class Door(enum.IntEnum):
    SHUT = 0
    OPEN = 1


class Colour(enum.Enum):
    RED = "red"


class Town(Record, kind="town-of-definition", version=1):
    name: str = durable()


ItemId = NewType("ItemId", str)


def record_of(annotation: Any, declared: Any, name: str = "field") -> type[Record]:
    """Define a record of one field, as a class statement would."""

    def body(namespace: dict[str, Any]) -> None:
        namespace["__annotations__"] = {name: annotation}
        namespace["__module__"] = __name__
        namespace["__qualname__"] = "record_of.<locals>.Thing"
        if declared is not None:
            namespace[name] = declared

    return types.new_class("Thing", (Record,), {"kind": "thing", "version": 1}, body)


def part_of(annotation: Any, default: Any = None) -> type[Part]:
    def body(namespace: dict[str, Any]) -> None:
        namespace["__annotations__"] = {"field": annotation}
        if default is not None:
            namespace["field"] = default

    return types.new_class("Piece", (Part,), {}, body)


REFUSED_TYPES: list[tuple[Any, str, str]] = [
    (Any, "of type Any", "name the type"),
    (object, "of type object", "name the type"),
    (bytes, "of type bytes", "base64"),
    (complex, "of type complex", "two floats"),
    (Decimal, "of type Decimal", "coins, not gold"),
    (datetime, "of type datetime", "microseconds since the epoch"),
    (UUID, "of type UUID", "text as str"),
    (Callable[[], int], "cannot be stored", "use int, float"),
    (Colour, "the enumeration Colour", "StrEnum or IntEnum"),
    (Loose, "the class Loose, which may be mutable", "Part"),
    (Plain, "the class Plain, which may be mutable", "Part"),
    (Town, "the record Town", "store its id"),
    (list, "a list without the type of its contents", r"list\[int\]"),
    (dict, "a dict without the type of its contents", r"dict\[str, int\]"),
    (tuple, "a tuple without the type of its contents", r"tuple\[int, ...\]"),
    (frozenset, "a frozenset without the type of its contents", r"frozenset\[int\]"),
    (list[list[int]], r"the entries of Thing.field is the mutable list\[int\]", r"tuple\[...\]"),
    (dict[str, list[int]], "the values of Thing.field is the mutable", "a Part"),
    (list[dict[str, int]], "the mutable", "frozenset"),
    (tuple[list[int], ...], "the mutable", "a Part"),
    (list[Loose], "the entries of Thing.field is the class Loose", "Part"),
    (dict[str, Plain], "the values of Thing.field is the class Plain", "Part"),
    (list[int] | None, "the mutable", "an empty container stands for None"),
    (dict[float, int], "the keys of Thing.field are float", "text or whole numbers"),
    (dict[bool, int], "the keys of Thing.field are bool", "text or whole numbers"),
    (set[tuple[int, int]], "the keys of Thing.field are tuple", "text or whole numbers"),
    (set[Item], "the keys of Thing.field are Item", "text or whole numbers"),
    (frozenset[float], "the keys of Thing.field are float", "text or whole numbers"),
    (dict[Literal[1, "a"], int], "the keys of Thing.field are", "text or whole numbers"),
    (Literal[True], "a Literal with values other than int, str and None", "StrEnum or bool"),
    (Annotated[int, msgspec.Meta(ge=0)], "bounds in msgspec.Meta", r"durable\(ge=0"),
    (str | Rank, "more than one", "one of each"),
    (Item | Town, "the record Town", "store its id"),
]


@pytest.mark.parametrize(("annotation", "says", "mends"), REFUSED_TYPES, ids=str)
def test_a_type_that_cannot_be_stored_is_refused_with_what_to_use_instead(
    annotation: Any, says: str, mends: str
) -> None:
    with pytest.raises(DefinitionError, match=says) as refused:
        record_of(annotation, durable())
    assert refused.match(mends)


STORABLE: list[tuple[Any, Any]] = [
    (int, -(2**63)),
    (float, 0.1),
    (bool, True),
    (str, "Zoë"),
    (Keyword, "overworld"),
    (ItemId, ItemId("sword")),
    (int | None, None),
    (int | str | None, "x"),
    (float | int, 2),
    (Rank, Rank.MASTER),
    (Door, Door.OPEN),
    (Literal["a", "b", 3], 3),
    (Item, Item("sword", 2)),
    (Item | None, None),
    (tuple[int, str], (1, "x")),
    (tuple[Item, ...], (Item("sword"),)),
    (frozenset[str], frozenset({"b", "a"})),
    (list[Item], [Item("sword", 3)]),
    (list[tuple[int, float]], [(1, 0.5)]),
    (list[Rank], [Rank.NOVICE]),
    (dict[str, int], {"b": 1, "a": 2}),
    (dict[int, tuple[Item, ...]], {7: (Item("sword"),)}),
    (dict[Rank, bool], {Rank.NOVICE: False}),
    (dict[str, frozenset[int]], {"a": frozenset({3, 1})}),
    (set[int], {3, 1, 2}),
    (set[Keyword], {"b", "a"}),
]


@pytest.mark.parametrize(("annotation", "value"), STORABLE, ids=[str(of) for of, _ in STORABLE])
def test_a_storable_type_comes_back_as_it_was(annotation: Any, value: Any) -> None:
    thing = record_of(annotation, durable())
    record = cast("Any", thing)(field=value)
    loaded = decode_record(encode(record), thing)
    assert loaded is not None
    assert loaded == record
    assert type(getattr(loaded, "field")) is type(value)  # noqa: B009 - the field exists at run time only


@pytest.mark.parametrize("annotation", [list[int], dict[str, int], set[int], list[Item]], ids=str)
def test_a_part_holds_nothing_mutable(annotation: Any) -> None:
    with pytest.raises(DefinitionError, match="the mutable") as refused:
        part_of(annotation)
    assert refused.match(r"tuple\[...\]")


REFUSED_FIELDS: list[tuple[Any, Any, str, str]] = [
    (int, None, "neither durable nor ephemeral", r"= durable\(\.\.\.\)"),
    (int, 5, "neither durable nor ephemeral", r"ephemeral\(default=...\)"),
    (list[int], durable(default=[]), r"the mutable default \[\]", "default_factory=list"),
    (list[int], durable(default=[1]), "all records would share the mutable default", r"default_factory=lambda: \[1\]"),
    (dict[str, int], durable(default=dict[str, int]()), "the mutable default", "default_factory=dict"),
    (set[int], durable(default=set[int]()), "the mutable default", "default_factory=set"),
    (list[int], ephemeral(default=[]), "the mutable default", "default_factory=list"),
    (int, ephemeral(), "ephemeral and has no default", r"ephemeral\(default=...\)"),  # pyright: ignore[reportCallIssue]
    (int, durable(default=1, default_factory=int), "a default and a default_factory", "leave one out"),  # pyright: ignore[reportCallIssue]
    (list[int], durable(default_factory=list, immediate_when=changed), "a container changes without", "tier=IMMEDIATE"),
    (tuple[int, ...], durable(default=(), immediate_when=changed), "a container changes without", "commit"),
    (str, durable(default="", immediate_when=rises), "rises compares numbers", "immediate_when=changed"),
    (int | None, durable(default=None, immediate_when=drops_to(0)), r"drops_to\(0\) compares numbers", "a function"),
    (int, durable(default="full"), "the default 'full' is not of type int", "declare the field as str"),
    (int, durable(default=None), "the default None is not of type int", r"declare the field as int \| None"),
    (int, durable(default=True), "the default True is not of type int", "declare the field as bool"),
    (str, durable(default="", ge=1), "ge cannot apply", "for numbers"),
    (int, durable(default=0, ge=1), "the default 0 is not at least 1", "change either"),
    (int, durable(default=1, ge=5, le=1), "at least 5 and at most 1", "swap"),
    (str, durable(default="", length_max=3, on_invalid=CLAMP), "would destroy", "QUARANTINE"),
]


@pytest.mark.parametrize(("annotation", "declared", "says", "mends"), REFUSED_FIELDS, ids=lambda value: str(value)[:40])
def test_a_wrong_declaration_is_refused_with_how_to_mend_it(
    annotation: Any, declared: Any, says: str, mends: str
) -> None:
    with pytest.raises(DefinitionError, match=says) as refused:
        record_of(annotation, declared)
    assert refused.match(mends)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("version", "the name is reserved"),
        ("crc", "the name is reserved"),
        ("touch", "Record has an attribute of this name"),
        ("fork", "Record has an attribute of this name"),
        ("restore", "Record has an attribute of this name"),
        ("schema", "Record has an attribute of this name"),
        ("migration", "Record has an attribute of this name"),
        ("rule", "Record has an attribute of this name"),
        ("_hidden", "small letters, digits and '_'"),
        ("maxHp", "small letters, digits and '_'"),
        ("été", "small letters, digits and '_'"),
    ],
)
def test_a_name_that_is_taken_or_cannot_be_written_is_refused(name: str, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        record_of(int, durable(default=1), name)


def test_a_declaration_without_a_type_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"Nameless.hp has no type .*hp: int"):

        class Nameless(Record, kind="nameless", version=1):  # pyright: ignore[reportUnusedClass]
            hp = durable(default=1)  # pyright: ignore[reportGeneralTypeIssues] - the mistake


def test_an_annotation_that_names_nothing_known_is_refused() -> None:
    with pytest.raises(DefinitionError, match=r"names 'Nowhere', which is undefined .*at module level"):
        record_of("Nowhere", durable())


def test_a_part_refuses_what_belongs_to_a_record() -> None:
    for declared in (ephemeral(default=1), durable(default=1, immediate_when=rises)):
        with pytest.raises(DefinitionError, match="stored whole and never assigned"):
            part_of(int, declared)


def test_a_part_cannot_extend_another() -> None:
    with pytest.raises(DefinitionError, match=r"derives from the Part Item.*declare all fields in one Part"):

        class Sword(Item):  # pyright: ignore[reportUnusedClass]
            edge: int = 1


@pytest.mark.parametrize(
    ("keywords", "says"),
    [
        ({"kind": "Player"}, "not a valid kind"),
        ({"kind": "account"}, "reserved"),
        ({"kind": "thing", "version": 0}, "a whole number from 1"),
        ({"kind": "thing", "version": "2"}, "a whole number from 1"),
        ({"kind": "thing", "version": True}, "a whole number from 1"),
        ({"kind": "thing", "suffix": "owner"}, "names a companion key"),
        ({"kind": "thing", "suffix": "a:b"}, "not a valid kind"),
        ({"version": 2}, "has no kind"),
        ({"keep_unknown": True}, "has no kind"),
    ],
)
def test_wrong_class_keywords_are_refused(keywords: dict[str, Any], says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        types.new_class("Thing", (Record,), keywords, lambda body: body.update(__qualname__="f.<locals>.Thing"))


def define(module: str, name: str, kind: str, suffix: str = "") -> type[Record]:
    body = {"__module__": module, "__qualname__": name}
    return types.new_class(name, (Record,), {"kind": kind, "suffix": suffix}, lambda namespace: namespace.update(body))


def test_two_records_of_one_kind_are_refused() -> None:
    first = define("game.players", "Player", "twin")
    with pytest.raises(
        DefinitionError, match=r"game.players.Player has the kind 'twin' already.*another kind or suffix"
    ):
        define("game.heroes", "Hero", "twin")
    assert define("game.heroes", "Chest", "twin", "chest").__realmkeep__.suffix == "chest"
    assert first.__realmkeep__.kind == "twin"


def test_reloading_a_module_replaces_its_record() -> None:
    first = define("game.reloaded", "Player", "reloaded")
    again = define("game.reloaded", "Player", "reloaded")
    assert first is not again
    with pytest.raises(DefinitionError, match="has the kind 'reloaded' already"):
        define("game.other", "Player", "reloaded")


def test_realmkeep_s_own_records_may_use_a_reserved_kind() -> None:
    assert define("realmkeep.of_tests", "Settings", "server").__realmkeep__.kind == "server"


def test_a_record_without_kind_shares_its_fields_and_methods() -> None:
    class Placed(Record):
        LIMIT: ClassVar[int] = 5
        x: float = durable(default=0.0)
        seen: int = ephemeral(default=0)

        def walk(self) -> None:
            self.x += 1

    class Named(Record):
        name: str = durable(default="nobody")

    class Npc(Placed, Named, kind="npc", version=1):
        hp: int = durable(default=5)

    npc = Npc(hp=3)
    npc.walk()
    assert (npc.x, npc.name, npc.hp, npc.seen, npc.LIMIT) == (1.0, "nobody", 3, 0, 5)
    assert encode(npc).startswith(b'{"version":1,"name":"nobody","x":1.0,"hp":3,')
    with pytest.raises(TypeError, match="Placed has no kind"):
        Placed()


def test_a_record_with_a_kind_cannot_be_derived_from() -> None:
    with pytest.raises(DefinitionError, match=r"derives from the record Town.*a Record without kind"):

        class Capital(Town, kind="capital", version=1):  # pyright: ignore[reportUnusedClass]
            king: str = durable()


def test_postponed_annotations_are_understood() -> None:
    source = """
from __future__ import annotations
from realmkeep.records.fields import Keyword, durable
from realmkeep.records.record import Part, Record
class Pebble(Part):
    kind: Keyword
class Beach(Record, kind="beach-postponed", version=1):
    pebbles: list[Pebble] = durable(default_factory=list)
"""
    module = types.ModuleType("postponed_beach")
    sys.modules["postponed_beach"] = module
    try:
        exec(source, module.__dict__)
        beach = module.Beach(pebbles=[module.Pebble("flint")])
    finally:
        del sys.modules["postponed_beach"]
    assert encode(beach).startswith(b'{"version":1,"pebbles":[{"kind":"flint"}]')


def test_a_whole_number_is_a_default_for_a_float() -> None:
    thing: Any = record_of(float, durable(default=3))
    assert encode(thing()).startswith(b'{"version":1,"field":3.0,')
    piece: Any = part_of(float | None, 3)
    assert repr(piece()) == "Piece(field=3.0)"


def test_immediate_fields_may_be_containers() -> None:
    thing = record_of(list[Item], durable(default_factory=list, tier=IMMEDIATE))
    assert thing.__realmkeep__.fields["field"].tier is IMMEDIATE
