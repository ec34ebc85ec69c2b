"""The acts of operators that the realm defines: gifts, and places."""

from typing import Final

from realmkeep.errors import ActRefused
from realmkeep.operations.operators.players import Players
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.inventory import earn, give
from realmkeep.realm.world.player import Player
from realmkeep.realm.world.world_file import shipped_world

WORLD: Final = shipped_world()  # read with this module: no act waits for a file


def give_thing(player: Player, thing: str, amount: int) -> None:
    """Give gold, or items without serials.

    Raises:
        ActRefused: There is no such item, it has a serial, or the player has no room.
    """
    if thing != "gold" and thing not in WORLD.items:
        raise ActRefused(f"there is no item {thing!r:.60}", hint="give gold, or an item of the world")
    if thing != "gold" and not WORLD.items[thing].stackable:
        raise ActRefused(f"each {thing} has a serial of its own", hint="give gold, or items that stack")
    try:
        if thing == "gold":
            earn(player, amount)
        else:
            give(player, WORLD, thing, amount)
    except ActionRefused as refused:
        raise ActRefused(refused.detail) from refused


def move_to_zone(player: Player, zone: str) -> None:
    """Put a player at the arrival of a zone, or in its middle.

    Raises:
        ActRefused: There is no such zone.
    """
    kind = WORLD.zones.get(zone)
    if kind is None:
        raise ActRefused(f"there is no zone {zone!r:.60}", hint=f"its zones are {', '.join(WORLD.zones)}")
    middle = (kind.west + kind.east) / 2, (kind.north + kind.south) / 2
    player.zone_id = zone
    player.x, player.y = kind.arrival or middle


PLAYERS: Final = Players(Player, gift=give_thing, move=move_to_zone)
