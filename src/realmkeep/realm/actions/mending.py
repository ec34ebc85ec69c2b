"""Mending of older records: unstackable items without a serial, as in the specification, and two items in one slot."""

from functools import partial

from realmkeep.realm.actions.scene import Scene
from realmkeep.realm.world.content import World
from realmkeep.realm.world.inventory import has_shared_slots, unpack_parcels
from realmkeep.realm.world.player import Item, Player, StoredItem, WornItem


def is_disordered(player: Player, world: World) -> bool:
    """Whether a carried, banked or worn item that does not stack lacks a serial, or two items share a slot."""
    return has_shared_slots(player) or any(
        _lacks_serial(held, world) for held in (*player.inventory, *player.bank, *player.equipment.values())
    )


def put_in_order(player: Player, scene: Scene) -> None:
    """Give each such item a serial, and move all but one item of a shared slot or numbered stack to places of their own.

    Raises:
        ActionRefused: `busy`: there are too few serials at hand.
    """
    world, serial = scene.world, partial(scene.new_serial, "mended: an item of an older release")
    inventory, bank, spare = list[Item](), list[StoredItem](), list[StoredItem]()
    taken = set[int]()
    for item in player.inventory:
        if item.slot in taken:
            spare.append(StoredItem(item.item_id, item.count, item.serial))
            continue
        taken.add(item.slot)
        if _lacks_serial(item, world):
            inventory.append(Item(item.item_id, 1, item.slot, serial()))
            spare += [StoredItem(item.item_id, 1, serial()) for _ in range(item.count - 1)]
        else:
            inventory.append(item)
    for stored in player.bank:
        numbered = _lacks_serial(stored, world)
        bank += [StoredItem(stored.item_id, 1, serial()) for _ in range(stored.count)] if numbered else [stored]
    player.inventory, player.bank = inventory, bank
    player.equipment = {
        where: WornItem(worn.item_id, serial()) if _lacks_serial(worn, world) else worn
        for where, worn in player.equipment.items()
    }
    player.parcels = [*player.parcels, *spare]
    unpack_parcels(player, world)


def _lacks_serial(held: Item | StoredItem | WornItem, world: World) -> bool:
    """Whether an item needs a serial; an item that the data file no longer has stays as it is, because it may stack."""
    kind = world.items.get(held.item_id)
    return held.serial is None and kind is not None and not kind.stackable
