"""The player's state in the words of the protocol."""

from collections.abc import Callable, Iterable
from typing import Any, Final

from realmkeep.realm.world.player import Item, Player, QuestProgress, StoredItem

STATE_FIELDS: Final[dict[str, Callable[[Player], Any]]] = {
    "player_id": lambda player: player.player_id,
    "name": lambda player: player.name,
    "zone": lambda player: player.zone_id,
    "x": lambda player: player.x,
    "y": lambda player: player.y,
    "hp": lambda player: player.hp,
    "max_hp": lambda player: player.max_hp,
    "xp": lambda player: player.xp,
    "lifetime_xp": lambda player: player.lifetime_xp,
    "level": lambda player: player.level,
    "attack_level": lambda player: player.attack_level,
    "strength_level": lambda player: player.strength_level,
    "defense_level": lambda player: player.defense_level,
    "hitpoints_level": lambda player: player.hitpoints_level,
    "gold": lambda player: player.gold,
    "inventory": lambda player: [
        thing(item) | {"slot": item.slot} for item in sorted(player.inventory, key=lambda item: item.slot)
    ],
    "equipment": lambda player: {
        where: {"item": worn.item_id} | ({"serial": worn.serial} if worn.serial is not None else {})
        for where, worn in player.equipment.items()
    },
    "bank": lambda player: [thing(stored) for stored in player.bank],
    "bank_gold": lambda player: player.bank_gold,
    "parcels": lambda player: len(player.parcels),
    "quests": lambda player: [_quest(quest) for quest in player.quest_progress],
    "achievements": lambda player: list(player.achievements),
    "friends": lambda player: list(player.friends),
    "blocked": lambda player: list(player.blocked),
    "settings": lambda player: dict(player.settings),
    "deaths": lambda player: player.deaths,
}
LEVELS: Final = ("xp", "lifetime_xp", "level", "attack_level", "strength_level", "defense_level", "hitpoints_level")


def state(player: Player, wall_us: int, fields: Iterable[str] = (*STATE_FIELDS, "in_combat")) -> dict[str, Any]:
    """Some fields of a player's state, or all of them.

    Args:
        player: The player's record.
        wall_us: The present wall time, for `in_combat`.
        fields: Names of the protocol.
    """
    return {
        name: player.combat_until_us > wall_us if name == "in_combat" else STATE_FIELDS[name](player) for name in fields
    }


def thing(held: Item | StoredItem) -> dict[str, Any]:
    """A held item in the words of the protocol; an item that does not stack includes its serial."""
    return {"item": held.item_id, "count": held.count} | ({"serial": held.serial} if held.serial is not None else {})


def _quest(quest: QuestProgress) -> dict[str, Any]:
    return {"quest": quest.quest_id, "stage": quest.stage, "count": quest.count, "complete": quest.complete}
