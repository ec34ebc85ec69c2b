"""Items: picking up, dropping, eating, wearing."""

from typing import Any

from realmkeep.realm.actions.scene import Scene
from realmkeep.realm.wire.intents import Consume, Drop, Equip, Pickup, Unequip
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.inventory import exchange, give, in_slot, take, unpack_parcels
from realmkeep.realm.world.places import SERIALS_MAX, GroundObject
from realmkeep.realm.world.player import Player, WornItem
from realmkeep.realm.world.zone import GroundItem, Zone


def reachable(player: Player, scene: Scene, intent: Pickup) -> GroundObject:
    """The items on the ground that an intent names.

    Raises:
        ActionRefused: `gone` or `out_of_range`.
    """
    thing = scene.place(player).ground.get(intent.ground_id)
    if thing is None or (intent.item and intent.item != thing.item):  # a restart reuses the ids for other items
        raise ActionRefused("gone", f"there is no {intent.item or 'thing'} with the id {intent.ground_id} here")
    if not scene.in_arm(player, thing.x, thing.y):
        raise ActionRefused("out_of_range", f"{thing.item} is out of arm's length")
    return thing


def pickup_common(player: Player, scene: Scene, intent: Pickup) -> dict[str, Any]:
    """Pick up common items, which lie in memory only.

    Raises:
        ActionRefused: `gone`, `out_of_range`, `inventory_full` or `stack_full`.
    """
    place = scene.place(player)
    thing = reachable(player, scene, intent)
    give(player, scene.world, thing.item, thing.count)
    place.pick_up(thing, scene.wall_us)
    return {"item": thing.item, "count": thing.count}


def pickup_serial(player: Player, zone: Zone, scene: Scene, intent: Pickup) -> dict[str, Any]:
    """Pick up an item that does not stack: it moves from the zone's record into the inventory in one commit.

    An item that grew at a spot gets its serial now, and the same commit records that the spot is empty.

    Raises:
        ActionRefused: `gone`, `out_of_range`, `inventory_full` or `busy`.
    """
    thing = reachable(player, scene, intent)
    left = [item for item in zone.ground if item.serial != thing.serial]
    spot = scene.place(player).spot_of(thing)
    if thing.spot in zone.respawns or (spot is None and len(left) == len(zone.ground)):
        raise ActionRefused("gone", f"another player took {thing.item}")
    if spot is not None and thing.spot is not None:
        zone.respawns = {**zone.respawns, thing.spot: scene.wall_us + int(spot.respawn_s * 1e6)}
    zone.ground = left
    serial = scene.new_serial("grew at a spot") if thing.serial is None else thing.serial
    given = give(player, scene.world, thing.item, 1, serial)
    return {"item": thing.item, "count": 1, "serial": serial, "slot": given.slot}


def drop_common(player: Player, scene: Scene, intent: Drop) -> dict[str, Any]:
    """Drop stackable items; once that is durable, they lie on the ground for a while.

    Raises:
        ActionRefused: `empty_slot`, `not_enough` or `slot_changed`.
    """
    dropped = take(player, intent.slot, intent.count)
    if (
        dropped.serial is not None
    ):  # a trade has filled the slot meanwhile; a serial may move with the zone's record only
        raise ActionRefused("slot_changed", f"slot {intent.slot} has changed meanwhile")
    unpack_parcels(player, scene.world)
    return {"item": dropped.item_id, "count": dropped.count}


def drop_serial(player: Player, zone: Zone, scene: Scene, intent: Drop) -> dict[str, Any]:
    """Drop an item with a serial: it moves from the inventory into the zone's record in one commit.

    Raises:
        ActionRefused: `empty_slot`, `not_enough`, `slot_changed` or `ground_full`.
    """
    dropped = take(player, intent.slot, intent.count)
    if dropped.serial is None:
        raise ActionRefused("slot_changed", f"slot {intent.slot} has changed meanwhile")
    if len(zone.ground) >= SERIALS_MAX:
        raise ActionRefused("ground_full", "there is no room left on the ground here")
    zone.ground = [*zone.ground, GroundItem(dropped.item_id, dropped.serial, player.x, player.y)]
    unpack_parcels(player, scene.world)
    return {"item": dropped.item_id, "count": 1, "serial": dropped.serial}


def consume(player: Player, scene: Scene, intent: Consume) -> dict[str, Any]:
    """Eat or drink.

    Raises:
        ActionRefused: `empty_slot`, `not_enough` or `not_edible`.
    """
    kind = scene.world.item(in_slot(player, intent.slot).item_id)
    if not kind.heals:
        raise ActionRefused("not_edible", "that cannot be eaten or drunk")
    eaten = take(player, intent.slot, intent.count)
    if eaten.serial is not None:
        scene.keeper.tx.burn_serial(eaten.serial, "eaten")
    healed = min(player.max_hp, player.hp + kind.heals * intent.count) - player.hp
    player.hp += healed
    unpack_parcels(player, scene.world)
    return {"item": eaten.item_id, "count": eaten.count, "healed": healed}


def equip(player: Player, scene: Scene, intent: Equip) -> dict[str, Any]:
    """Wear or wield the item in a slot; the item worn before takes its slot.

    Raises:
        ActionRefused: `empty_slot`, `not_wearable`, or `slot_taken`: the rest of a stack stays in the slot.
    """
    item = in_slot(player, intent.slot)
    where = scene.world.item(item.item_id).equipment
    if where is None:
        raise ActionRefused("not_wearable", f"{item.item_id} cannot be worn")
    exchange(player, intent.slot, player.equipment.get(where))
    player.equipment = {**player.equipment, where: WornItem(item.item_id, item.serial)}
    return {}


def unequip(player: Player, scene: Scene, intent: Unequip) -> dict[str, Any]:
    """Put a worn item into the inventory.

    Raises:
        ActionRefused: `not_worn` or `inventory_full`.
    """
    worn = player.equipment.get(intent.equipment)
    if worn is None:
        raise ActionRefused("not_worn", f"nothing is worn as {intent.equipment!r}")
    give(player, scene.world, worn.item_id, 1, worn.serial)
    player.equipment = {where: item for where, item in player.equipment.items() if where != intent.equipment}
    return {}
