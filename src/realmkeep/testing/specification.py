"""The specification's player as a record, shared by tests, benchmarks and golden files."""

from typing import Any

from realmkeep.records.fields import CHECKPOINT, IMMEDIATE, Keyword, drops_to, durable, ephemeral, rises
from realmkeep.records.record import Part, Record


class SpecItem(Part):
    """An item in one slot of the inventory."""

    item_id: Keyword
    count: int = durable(default=1, ge=0)
    slot: int = durable(default=0, ge=0)


class SpecStack(Part):
    """Items of one kind in the bank."""

    item_id: Keyword
    count: int = durable(default=1, ge=0)


class SpecQuest(Part):
    """The progress of a quest."""

    quest_id: Keyword
    stage: int = durable(default=0, ge=0)
    complete: bool = False


class SpecPlayer(Record, kind="player", version=2):
    """The record of the specification's "Data Format"; version 2 added `lifetime_xp`."""

    player_id: int = durable(ge=0)
    zone_id: Keyword = durable(default="overworld", tier=CHECKPOINT)
    x: float = durable(default=0.0, tier=CHECKPOINT)
    y: float = durable(default=0.0, tier=CHECKPOINT)
    hp: int = durable(default=10, ge=0, immediate_when=drops_to(0))
    xp: int = durable(default=0, ge=0)
    attack_level: int = durable(default=1, ge=1, immediate_when=rises)
    strength_level: int = durable(default=1, ge=1, immediate_when=rises)
    defense_level: int = durable(default=1, ge=1, immediate_when=rises)
    hitpoints_level: int = durable(default=10, ge=1, immediate_when=rises)
    inventory: list[SpecItem] = durable(default_factory=list[SpecItem])
    bank: list[SpecStack] = durable(default_factory=list[SpecStack], tier=IMMEDIATE)
    quest_progress: list[SpecQuest] = durable(default_factory=list[SpecQuest])
    achievements: list[Keyword] = durable(default_factory=list[str])
    friends: list[int] = durable(default_factory=list[int])
    settings: dict[str, float] = durable(default_factory=dict[str, float])
    lifetime_xp: int = durable(default=0, ge=0)
    target: int | None = ephemeral(default=None)
    buffs: list[str] = ephemeral(default_factory=list[str])


@SpecPlayer.migration(1)
def add_lifetime_xp(player: dict[str, Any]) -> dict[str, Any]:
    """The specification's example: version 2 counts all experience ever earned, from 0."""
    player["lifetime_xp"] = player.get("lifetime_xp") or 0  # Lisp's nil counts as missing
    return player


def specification_player(items: int = 2) -> SpecPlayer:
    """Return the player of the specification's example.

    Args:
        items: The number of items carried: 2 as in the specification, 14 for measurements.
    """
    carried = [SpecItem("sword", 1, 0), SpecItem("coins", 500, 1)]
    carried += [SpecItem(f"rune-{slot}", slot, slot) for slot in range(2, items)]
    return SpecPlayer(
        player_id=12345,
        zone_id="overworld",
        x=150.0,
        y=200.0,
        hp=85,
        xp=1500,
        attack_level=10,
        strength_level=8,
        defense_level=12,
        hitpoints_level=15,
        inventory=carried[:items],
        bank=[SpecStack("coins", 10000)],
        quest_progress=[SpecQuest("tutorial", 3, complete=True)],
        achievements=["first-blood", "level-10"],
        friends=[12346, 12347],
        settings={"music_volume": 0.5, "sfx_volume": 0.8},
    )
