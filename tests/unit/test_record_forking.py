from typing import Any

import pytest

from realmkeep.records.fields import BATCHED, CHECKPOINT, FieldInfo, Tier
from realmkeep.records.json_codec import encode
from realmkeep.records.marking import (
    observe,
    peek_marks,
    put_back_marks,
    take_marks,
)
from realmkeep.records.record import Record
from realmkeep.testing.specification import SpecItem, SpecPlayer, specification_player
from unit.marked import changed_fields


class Told:
    def __init__(self) -> None:
        self.events: list[str] = []

    def marked(self, record: Any, tier: Tier) -> None:
        self.events.append(f"marked {tier.name} {type(record).__name__}")

    def triggered(self, record: Any, field: FieldInfo, old: Any, new: Any) -> None:
        self.events.append(f"triggered {field.name} {old} {new} {type(record).__name__}")

    def immediate_changed(self, record: Any, field: FieldInfo) -> None:
        self.events.append(f"immediate {field.name} {type(record).__name__}")


def ruin(player: SpecPlayer) -> None:
    """Change every durable field, and every container both inside and as a whole."""
    player.player_id = 1
    player.zone_id = "void"
    player.x = player.y = -1.0
    player.hp = player.xp = 0
    player.attack_level = player.strength_level = player.defense_level = player.hitpoints_level = 99
    player.lifetime_xp = 5
    player.inventory.clear()
    player.bank.append(player.bank[0])
    player.quest_progress.reverse()
    player.achievements[0] = "nothing"
    player.friends.insert(0, 3)
    player.settings["music_volume"] = 0.0
    del player.settings["sfx_volume"]


def test_restoring_brings_back_every_field_and_the_contents_of_every_container() -> None:
    player = specification_player(14)
    before = encode(player)
    fork = player.fork()
    for _ in range(2):  # a fork can be restored again
        ruin(player)
        now = specification_player(14)
        unchanged = [name for name in SpecPlayer.__blueprint__.names if getattr(player, name) == getattr(now, name)]
        assert unchanged == ["quest_progress"]  # of one entry
        player.restore(fork)
        assert encode(player) == before
        assert player == specification_player(14)


def test_a_reference_into_the_record_is_one_again_after_restoring() -> None:
    player = specification_player()
    inventory, settings = player.inventory, player.settings
    fork = player.fork()
    player.inventory = [SpecItem("axe")]
    player.settings = {}
    inventory.append(SpecItem("shield"))
    player.restore(fork)
    assert player.inventory is inventory
    assert player.settings is settings
    assert inventory == specification_player().inventory


def test_a_fork_is_independent_of_the_record() -> None:
    player = specification_player()
    fork = player.fork()
    player.inventory.append(SpecItem("axe"))
    player.restore(fork)
    player.inventory.append(SpecItem("bow"))
    player.restore(fork)
    assert player.inventory == specification_player().inventory


def test_a_set_is_restored() -> None:
    from realmkeep.records.fields import durable  # noqa: PLC0415 - used by this test alone

    class Album(Record, kind="album", version=1):
        stickers: set[int] = durable(default_factory=set[int])

    album = Album(stickers={1, 2})
    stickers, fork = album.stickers, album.fork()
    album.stickers.add(3)
    album.restore(fork)
    assert album.stickers is stickers
    assert stickers == {1, 2}


def test_ephemeral_fields_stay_as_they_are() -> None:
    player = specification_player()
    fork = player.fork()
    player.target = 7
    player.restore(fork)
    assert player.target == 7


def test_what_is_restored_counts_as_it_did_before() -> None:
    player = specification_player()
    player.xp = 3
    fork = player.fork()
    player.hp = 0
    player.x = 1.0
    player.restore(fork)
    assert changed_fields(player) == ("xp",)


def test_after_restoring_the_observer_is_told_of_the_next_change() -> None:
    player, told = specification_player(), Told()
    observe(player, told)
    fork = player.fork()
    player.xp = 3
    player.restore(fork)
    player.xp = 4
    assert told.events == ["marked BATCHED SpecPlayer"] * 2


def test_restoring_fires_no_trigger_and_asks_nobody() -> None:
    player, told = specification_player(), Told()
    fork = player.fork()
    ruin(player)
    observe(player, told)
    player.restore(fork)
    assert told.events == []


def test_after_a_write_that_came_between_what_it_wrote_otherwise_is_marked() -> None:
    player, told = specification_player(), Told()
    observe(player, told)
    fork = player.fork()
    player.xp += 1
    player.friends.append(5)
    player.touch("friends")
    take_marks(player)
    told.events.clear()
    player.restore(fork)
    assert changed_fields(player) == ("xp", "friends")
    assert told.events == [f"marked {BATCHED.name} SpecPlayer"]


def test_after_a_write_of_the_same_state_nothing_is_marked() -> None:
    player, told = specification_player(), Told()
    observe(player, told)
    player.x = 3.0
    fork = player.fork()
    taken = take_marks(player)
    told.events.clear()
    player.restore(fork)
    assert peek_marks(player) == 0
    assert told.events == []
    put_back_marks(player, taken)
    assert changed_fields(player) == ("x",)
    assert SpecPlayer.__realmkeep__.fields["x"].tier is CHECKPOINT


def test_a_fork_goes_back_only_into_its_own_record() -> None:
    player, other = specification_player(), specification_player()
    with pytest.raises(ValueError, match="not of this SpecPlayer"):
        other.restore(player.fork())
