"""Buying and selling, at the server's prices."""

from typing import Any

from realmkeep.realm.actions.scene import Scene
from realmkeep.realm.wire.intents import Buy, Sell
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.content import Shop
from realmkeep.realm.world.inventory import earn, free_slots, give, take, unpack_parcels
from realmkeep.realm.world.player import INVENTORY_SLOTS, Player


def shops_here(player: Player, scene: Scene) -> list[Shop]:
    """The shops within reach."""
    return [shop for shop in scene.place(player).kind.shops if scene.in_reach(player, shop.x, shop.y)]


def buy(player: Player, scene: Scene, intent: Buy) -> dict[str, Any]:
    """Buy items; each one that does not stack gets a serial and a slot of its own.

    Raises:
        ActionRefused: `no_shop`, `not_sold_here`, `price_changed`, `not_enough_gold`, `inventory_full`, `stack_full` or `busy`.
    """
    shops = shops_here(player, scene)
    if not shops:
        raise ActionRefused("no_shop", "there is no shop within reach")
    if not any(intent.item in shop.sells for shop in shops):
        raise ActionRefused("not_sold_here", f"no {intent.item!r} is sold here")
    kind = scene.world.item(intent.item)
    if isinstance(intent.price_max, int) and kind.price > intent.price_max:
        raise ActionRefused("price_changed", f"one {intent.item} costs {kind.price}")
    price = kind.price * intent.count
    if price > player.gold:
        raise ActionRefused(
            "not_enough_gold", f"{intent.count} {intent.item} cost {price}, and there are {player.gold}"
        )
    if kind.stackable:
        give(player, scene.world, intent.item, intent.count)
    elif intent.count > len(free_slots(player)):
        raise ActionRefused("inventory_full", f"{intent.count} slots of {INVENTORY_SLOTS} are needed")
    else:
        for _ in range(intent.count):
            give(player, scene.world, intent.item, 1, scene.new_serial("bought from a shop"))
    player.gold -= price
    scene.keeper.tx.burn("gold", price, "bought from a shop")
    return {"item": intent.item, "count": intent.count, "price": price}


def sell(player: Player, scene: Scene, intent: Sell) -> dict[str, Any]:
    """Sell the items of a slot.

    Raises:
        ActionRefused: `no_shop`, `empty_slot`, `not_enough`, `worthless`, `price_changed` or `purse_full`.
    """
    if not shops_here(player, scene):
        raise ActionRefused("no_shop", "there is no shop within reach")
    sold = take(player, intent.slot, intent.count)
    kind = scene.world.item(sold.item_id)
    if not kind.sell_price:
        raise ActionRefused("worthless", f"no shop wants {sold.item_id}")
    if isinstance(intent.price_min, int) and kind.sell_price < intent.price_min:
        raise ActionRefused("price_changed", f"one {sold.item_id} brings {kind.sell_price}")
    price = kind.sell_price * sold.count
    earn(player, price)
    scene.keeper.tx.mint("gold", price, "sold to a shop")
    if sold.serial is not None:
        scene.keeper.tx.burn_serial(sold.serial, "sold to a shop")
    unpack_parcels(player, scene.world)
    return {"item": sold.item_id, "count": sold.count, "price": price, "serial": sold.serial}
