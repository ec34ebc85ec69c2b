"""The bank."""

from typing import Any

from realmkeep.realm.actions.scene import Scene
from realmkeep.realm.wire.intents import Deposit, Withdraw
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.inventory import GOLD, bank, earn, give, take, unbank, unpack_parcels
from realmkeep.realm.world.player import GOLD_MAX, Player


def bank_here(player: Player, scene: Scene) -> bool:
    """Whether a bank is within reach."""
    return any(scene.in_reach(player, bank.x, bank.y) for bank in scene.place(player).kind.banks)


def deposit(player: Player, scene: Scene, intent: Deposit) -> dict[str, Any]:
    """Deposit gold or items; items that do not stack are taken from the lowest slots.

    Raises:
        ActionRefused: `no_bank`, `not_enough`, `not_enough_gold`, `bank_full` or `stack_full`.
    """
    _check_bank(player, scene)
    if intent.item == GOLD:
        if intent.count > player.gold:
            raise ActionRefused("not_enough_gold", f"there are {player.gold}")
        if player.bank_gold + intent.count > GOLD_MAX:
            raise ActionRefused("bank_full", f"the bank keeps {GOLD_MAX} gold of one player")
        player.gold -= intent.count
        player.bank_gold += intent.count
        return {"item": GOLD, "count": intent.count}
    wanted = intent.count
    for item in sorted(player.inventory, key=lambda item: item.slot):
        part = min(wanted, item.count) if item.item_id == intent.item else 0
        if part:
            bank(player, scene.world, take(player, item.slot, part))
            wanted -= part
    if wanted:
        raise ActionRefused("not_enough", f"the inventory has {intent.count - wanted} of {intent.item!r}")
    unpack_parcels(player, scene.world)
    return {"item": intent.item, "count": intent.count}


def withdraw(player: Player, scene: Scene, intent: Withdraw) -> dict[str, Any]:
    """Withdraw gold or items from the bank.

    Raises:
        ActionRefused: `no_bank`, `not_enough`, `not_enough_gold`, `inventory_full`, `stack_full` or `purse_full`.
    """
    _check_bank(player, scene)
    if intent.item == GOLD:
        if intent.count > player.bank_gold:
            raise ActionRefused("not_enough_gold", f"the bank has {player.bank_gold}")
        player.bank_gold -= intent.count
        earn(player, intent.count)
        return {"item": GOLD, "count": intent.count}
    for stored in unbank(player, intent.item, intent.count):
        give(player, scene.world, stored.item_id, stored.count, stored.serial)
    return {"item": intent.item, "count": intent.count}


def _check_bank(player: Player, scene: Scene) -> None:
    if not bank_here(player, scene):
        raise ActionRefused("no_bank", "there is no bank within reach")
