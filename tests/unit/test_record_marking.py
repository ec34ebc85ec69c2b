import gc
import weakref
from dataclasses import dataclass, field
from typing import Any

import pytest

from realmkeep.errors import TierViolation, Unstorable
from realmkeep.records.fields import (
    BATCHED,
    CHECKPOINT,
    IMMEDIATE,
    FieldInfo,
    Tier,
    changed,
    drops_to,
    durable,
    ephemeral,
    rises,
)
from realmkeep.records.json_codec import decode_record, encode
from realmkeep.records.marking import (
    observe,
    peek_marks,
    put_back_marks,
    take_marks,
)
from realmkeep.records.record import Record
from unit.marked import changed_fields


def doubled(old: int, new: int) -> bool:
    return new >= 2 * old


class Hero(Record, kind="hero-of-marking", version=1):
    hp: int = durable(default=100, immediate_when=drops_to(0))
    level: int = durable(default=1, immediate_when=rises)
    rank: str = durable(default="novice", immediate_when=changed)
    gold: int = durable(default=1, immediate_when=doubled)
    xp: int = durable(default=0)
    x: float = durable(default=0.0, tier=CHECKPOINT)
    nick: str | None = durable(default=None)
    bag: list[int] = durable(default_factory=list)
    skills: dict[str, int] = durable(default_factory=dict)
    bank: list[int] = durable(default_factory=list, tier=IMMEDIATE)
    sealed: int = durable(default=0, tier=IMMEDIATE)
    target: int | None = ephemeral(default=None)
    buffs: list[str] = ephemeral(default_factory=list)


class Points(Record, kind="points-of-marking", version=1):
    count: int = durable(default=0)
    friend: Any = ephemeral(default=None)


@dataclass
class Told:
    """An observer that writes down what it is told."""

    events: list[tuple[object, ...]] = field(default_factory=list[tuple[object, ...]])

    def marked(self, record: Any, tier: Tier) -> None:
        self.events.append(("marked", tier, changed_fields(record)))

    def triggered(self, record: Any, field: FieldInfo, old: Any, new: Any) -> None:
        self.events.append(("triggered", field.name, old, new, getattr(record, field.name)))

    def immediate_changed(self, record: Any, field: FieldInfo) -> None:
        self.events.append(("immediate", field.name, getattr(record, field.name)))


class Strict(Told):
    def immediate_changed(self, record: Any, field: FieldInfo) -> None:
        raise TierViolation(f"{field.name} of {record}")


class Frozen(Told):
    def assigning(self, record: Any, field: FieldInfo) -> None:
        self.events.append(("assigning", field.name))
        raise TierViolation(f"ownership of {record} is lost")


def test_assignments_mark_the_fields_assigned() -> None:
    hero = Hero()
    assert changed_fields(hero) == ()
    hero.xp = 5
    hero.x = 1.5
    hero.xp += 1
    assert changed_fields(hero) == ("xp", "x")


def test_every_durable_field_has_a_mark_of_its_own() -> None:
    for info in Hero.__realmkeep__.durable:
        hero = Hero()
        setattr(hero, info.name, getattr(hero, info.name))
        assert changed_fields(hero) == (info.name,)
        assert peek_marks(hero) == 1 << info.index


def test_taking_marks_clears_them_and_the_next_assignment_marks_again() -> None:
    hero = Hero()
    hero.xp = 5
    taken = take_marks(hero)
    assert changed_fields(hero, taken) == ("xp",)
    assert take_marks(hero) == 0
    hero.xp = 6
    assert changed_fields(hero) == ("xp",)


def test_marks_put_back_join_those_made_meanwhile() -> None:
    hero = Hero()
    hero.xp = 5
    taken = take_marks(hero)
    hero.x = 2.0
    put_back_marks(hero, taken)
    assert changed_fields(hero) == ("xp", "x")


def test_ephemeral_assignments_mark_nothing() -> None:
    hero, told = Hero(), Told()
    observe(hero, told)
    hero.target = 7
    hero.buffs = ["haste"]
    hero.buffs.append("shield")
    assert (hero.target, hero.buffs) == (7, ["haste", "shield"])
    assert peek_marks(hero) == 0
    assert told.events == []


def test_a_new_and_a_loaded_record_have_no_marks_and_no_bookkeeping() -> None:
    hero = Hero(xp=3, target=4)
    assert not hasattr(hero, "__marks__")
    loaded = decode_record(encode(hero), Hero)
    assert loaded is not None
    assert not hasattr(loaded, "__marks__")
    assert peek_marks(loaded) == 0


@pytest.mark.parametrize(
    ("name", "value", "again"),
    [("hp", -3, 100), ("level", 2, 1), ("rank", "master", "novice"), ("gold", 2, 1)],
)
def test_a_trigger_is_reported_also_if_a_second_assignment_reverts_it(name: str, value: Any, again: Any) -> None:
    hero, told = Hero(), Told()
    observe(hero, told)
    for _ in range(2):  # the first time marks the field, the second finds it marked
        setattr(hero, name, value)
        setattr(hero, name, again)
    old = getattr(Hero(), name)
    assert [event for event in told.events if event[0] == "triggered" and event[3] == value] == [
        ("triggered", name, old, value, value)
    ] * 2


def test_a_trigger_that_does_not_fire_is_silent() -> None:
    hero, told = Hero(level=3), Told()
    observe(hero, told)
    hero.hp = 1
    hero.level = 3
    hero.level = 2
    hero.rank = "novice"
    assert [event[0] for event in told.events] == ["marked"]


def test_the_death_line_is_crossed_from_above_only() -> None:
    hero, told = Hero(hp=1), Told()
    observe(hero, told)
    hero.hp = 0
    hero.hp = -5
    assert [event for event in told.events if event[0] == "triggered"] == [("triggered", "hp", 1, 0, 0)]


def test_a_trigger_that_raises_leaves_the_field_as_it_was() -> None:
    def explode(old: int, new: int) -> bool:
        raise ZeroDivisionError

    class Mine(Record, kind="mine", version=1):
        depth: int = durable(default=1, immediate_when=explode)

    mine = Mine()
    with pytest.raises(ZeroDivisionError):
        mine.depth = 2
    assert (mine.depth, peek_marks(mine)) == (1, 0)


def test_the_observer_is_told_once_and_again_when_it_gets_more_urgent() -> None:
    hero, told = Hero(), Told()
    observe(hero, told)
    hero.x = 1.0
    hero.x = 2.0
    hero.xp = 1
    hero.nick = "Ada"
    hero.sealed = 1
    assert told.events == [
        ("marked", CHECKPOINT, ("x",)),
        ("marked", BATCHED, ("xp", "x")),
        ("immediate", "sealed", 0),
        ("marked", IMMEDIATE, ("xp", "x", "nick", "sealed")),
    ]
    take_marks(hero)
    told.events.clear()
    hero.x = 3.0
    assert told.events == [("marked", CHECKPOINT, ("x",))]


def test_marks_put_back_are_known_to_be_urgent() -> None:
    hero, told = Hero(), Told()
    observe(hero, told)
    hero.xp = 1
    put_back_marks(hero, take_marks(hero))
    told.events.clear()
    hero.x = 1.0
    hero.nick = "Ada"
    assert told.events == []


def test_an_observer_may_refuse_an_immediate_change_before_it_happens() -> None:
    hero = Hero()
    observe(hero, Strict())
    for _ in range(2):
        with pytest.raises(TierViolation):
            hero.sealed = 5
    with pytest.raises(TierViolation):
        hero.touch("bank")
    assert (hero.sealed, peek_marks(hero)) == (0, 0)


def test_an_immediate_field_is_announced_at_every_assignment() -> None:
    hero, told = Hero(), Told()
    observe(hero, told)
    hero.sealed = 1
    hero.sealed = 2
    hero.touch("bank")
    assert [event for event in told.events if event[0] == "immediate"] == [
        ("immediate", "sealed", 0),
        ("immediate", "sealed", 1),
        ("immediate", "bank", []),
    ]


def test_a_sentry_is_asked_before_every_durable_assignment() -> None:
    hero, frozen = Hero(), Frozen()
    hero.xp = 1
    hero.xp = 2
    observe(hero, frozen)
    for _ in range(2):
        with pytest.raises(TierViolation):
            hero.xp = 9
    with pytest.raises(TierViolation):
        hero.touch()
    hero.target = 3
    assert (hero.xp, hero.target) == (2, 3)
    assert frozen.events == [("assigning", "xp"), ("assigning", "xp"), ("assigning", "bag")]
    observe(hero, None)
    hero.xp = 9
    assert hero.xp == 9


def test_a_sentry_that_lets_pass_sees_every_assignment() -> None:
    class Watch(Told):
        def assigning(self, record: Any, field: FieldInfo) -> None:
            self.events.append((field.name, getattr(record, field.name)))

    hero, watch = Hero(), Watch()
    observe(hero, watch)
    for value in (1, 2, 3):
        hero.xp = value
    assert [event for event in watch.events if event[0] == "xp"] == [("xp", 0), ("xp", 1), ("xp", 2)]


def test_a_detached_record_still_collects_marks() -> None:
    hero, told = Hero(), Told()
    observe(hero, told)
    observe(hero, None)
    hero.xp = 1
    hero.hp = 0
    assert told.events == []
    assert changed_fields(hero) == ("hp", "xp")


def test_touch_marks_what_is_named() -> None:
    hero, told = Hero(), Told()
    observe(hero, told)
    hero.bag.append(1)
    assert changed_fields(hero) == ()
    hero.touch("bag")
    assert changed_fields(hero) == ("bag",)
    assert told.events == [("marked", BATCHED, ("bag",))]


def test_touch_without_names_marks_the_containers_that_may_change_outside_a_commit() -> None:
    hero = Hero()
    hero.touch()
    assert changed_fields(hero) == ("bag", "skills")


@pytest.mark.parametrize("name", ["bagg", "target", "version"])
def test_touching_what_is_no_durable_field_is_an_error_and_marks_nothing(name: str) -> None:
    hero = Hero()
    with pytest.raises(AttributeError, match=name):
        hero.touch("bag", name)
    assert peek_marks(hero) == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("xp", 2.5),
        ("xp", True),
        ("xp", "5"),
        ("xp", None),
        ("x", "1"),
        ("x", True),
        ("x", 10**400),
        ("rank", b"novice"),
        ("nick", 5),
        ("bag", (1, 2)),
        ("skills", []),
    ],
)
def test_a_value_of_another_type_is_refused_where_it_is_assigned(name: str, value: Any) -> None:
    hero = Hero()
    for _ in range(2):
        with pytest.raises(Unstorable, match=rf"Hero.{name} is .*; the assigned value is {type(value).__name__}"):
            setattr(hero, name, value)
        setattr(hero, name, getattr(hero, name))  # the second time the field is marked
    assert hero == Hero()
    with pytest.raises(Unstorable, match=f"Hero.{name}"):
        Hero(**{name: value})


def test_an_integer_becomes_a_float_where_a_float_is_declared() -> None:
    hero = Hero(x=3)
    assert type(hero.x) is float
    hero.x = 4
    hero.x = 5
    assert (type(hero.x), hero.x) == (float, 5.0)


def test_a_field_that_is_not_declared_cannot_be_assigned() -> None:
    hero = Hero()
    with pytest.raises(AttributeError, match=r"Hero has no field 'mana'.*durable\(\) or ephemeral\(\)"):
        hero.mana = 3  # pyright: ignore[reportAttributeAccessIssue] - the mistake
    with pytest.raises(AttributeError):
        hero.version = 3  # pyright: ignore[reportAttributeAccessIssue] - the mistake


def test_deleting_puts_an_ephemeral_field_back_and_refuses_a_durable_one() -> None:
    hero = Hero(target=5)
    hero.buffs.append("haste")
    del hero.target, hero.buffs
    assert (hero.target, hero.buffs) == (None, [])
    for name in ("xp", "target", "nothing"):
        with pytest.raises(AttributeError, match=f"Hero.{name} cannot be deleted"):
            delattr(hero, name)
    assert hero.xp == 0


def test_the_collector_finds_a_record_and_its_session() -> None:
    class Session(Told):
        record: Any = None

    def leave() -> tuple[weakref.ref[Session], weakref.ref[Session]]:
        observed, befriended = Session(), Session()
        points = Points()
        observed.record = points
        observe(points, observed)
        other = Points()
        befriended.record = other
        other.friend = befriended
        return weakref.ref(observed), weakref.ref(befriended)

    references = leave()
    gc.collect()
    assert [reference() for reference in references] == [None, None]
