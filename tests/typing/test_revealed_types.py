"""What a type checker makes of a record class. basedpyright proves this file when it checks the tree.

`assert_type` pins the type of every field; every mistake below is one, or its comment would be reported as unnecessary.
"""
# pyright: reportUnnecessaryTypeIgnoreComment=error

from typing import Any, assert_type

import pytest

from realmkeep.errors import RealmkeepError
from realmkeep.records.fields import IMMEDIATE, Keyword, drops_to, durable, ephemeral, rises
from realmkeep.records.forking import Fork
from realmkeep.records.json_codec import decode_record, encode
from realmkeep.records.record import Part, Record
from realmkeep.records.schema import Schema


class Item(Part):
    item: str
    count: int = durable(default=1, ge=0)
    serial: int | None = None


class Player(Record, kind="player-of-typing", version=2):
    name: str = durable()
    hp: int = durable(default=100, ge=0, immediate_when=drops_to(0))
    level: int = durable(default=1, immediate_when=rises)
    zone: Keyword = durable(default="town")
    bank: list[Item] = durable(default_factory=list, tier=IMMEDIATE)
    nick: str | None = durable(default=None)
    xp: int | float = durable(default=0)
    scores: dict[str, int] = durable(default_factory=dict)
    target: int | None = ephemeral(default=None)
    buffs: list[str] = ephemeral(default_factory=list)


@Player.migration(1)
def first_step(plain: dict[str, Any]) -> dict[str, Any]:
    return plain


@Player.rule
def a_rule(player: Player) -> None:
    assert player


def test_the_types_of_fields_are_those_annotated() -> None:
    player = Player(name="Ada", target=3)
    assert_type(player, Player)
    assert_type(player.name, str)
    assert_type(player.hp, int)
    assert_type(player.zone, str)
    assert_type(player.bank, list[Item])
    assert_type(player.nick, str | None)
    assert_type(player.xp, int | float)
    assert_type(player.scores, dict[str, int])
    assert_type(player.target, int | None)
    assert_type(player.buffs, list[str])
    item = Item("sword", 2)
    assert_type(item, Item)
    assert_type(item.count, int)
    assert_type(item.serial, int | None)


def test_the_types_of_methods_are_those_of_the_record() -> None:
    player = Player(name="Ada")
    assert_type(player.fork(), Fork[Player])
    assert_type(Player.schema(), Schema)
    assert_type(decode_record(encode(player), Player), Player | None)
    assert_type(first_step({}), dict[str, Any])
    assert_type(a_rule(player), None)


def test_the_constructor_takes_the_fields_by_keyword() -> None:
    with pytest.raises(TypeError):
        Player()  # pyright: ignore[reportCallIssue] - name is required
    with pytest.raises(TypeError):
        Player("Ada")  # pyright: ignore[reportCallIssue] - by keyword only
    with pytest.raises(TypeError):
        Player(name="Ada", mana=3)  # pyright: ignore[reportCallIssue] - no such field
    with pytest.raises(RealmkeepError):
        Player(name=3)  # pyright: ignore[reportArgumentType] - of another type


def test_wrong_assignments_are_errors() -> None:
    player = Player(name="Ada")
    with pytest.raises(RealmkeepError):
        player.hp = "full"  # pyright: ignore[reportAttributeAccessIssue] - of another type
    with pytest.raises(RealmkeepError):
        player.bank = ()  # pyright: ignore[reportAttributeAccessIssue] - of another type
    with pytest.raises(AttributeError):
        player.mana = 3  # pyright: ignore[reportAttributeAccessIssue] - no such field
    with pytest.raises(AttributeError):
        Item("sword").count = 3  # pyright: ignore[reportAttributeAccessIssue] - a Part is frozen


def test_wrong_defaults_are_errors() -> None:
    with pytest.raises(RealmkeepError):

        class Wrong(Record, kind="wrong-of-typing", version=1):  # pyright: ignore[reportUnusedClass]
            hp: int = durable(default="full", ge=1)  # pyright: ignore[reportAssignmentType] - of another type


def test_a_fork_of_another_record_class_is_an_error() -> None:
    class Guild(Record, kind="guild-of-typing", version=1):
        gold: int = durable(default=0)

    with pytest.raises(ValueError, match="not of this Player"):
        Player(name="Ada").restore(Guild().fork())  # pyright: ignore[reportArgumentType] - of another class


def test_a_bare_container_is_of_whatever_the_annotation_says() -> None:
    """Of `Any` and not of something unknown: pyright's strict mode reported each `durable(default_factory=list)`."""
    assert_type(durable(default_factory=list), list[Any])
    assert_type(durable(default_factory=dict, ge=0), dict[Any, Any])
    assert_type(durable(default_factory=set), set[Any])
    assert_type(durable(default_factory=tuple), tuple[Any, ...])
    assert_type(ephemeral(default_factory=list), list[Any])
    assert_type(ephemeral(default_factory=lambda: [Item("rope")]), list[Item])
