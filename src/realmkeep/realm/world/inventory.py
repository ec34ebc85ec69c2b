"""Slots and stacks: every change of a player's items, checked before it happens.

The functions replace lists and never change them in place, so that the assignment marks the record.
"""

from typing import Final

from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.content import ItemKind, World
from realmkeep.realm.world.player import BANK_ENTRIES_MAX, GOLD_MAX, INVENTORY_SLOTS, Item, Player, StoredItem, WornItem

GOLD: Final = "gold"  # an item name for `deposit` and `withdraw`


def in_slot(player: Player, slot: int) -> Item:
    """The item in a slot.

    Raises:
        ActionRefused: `empty_slot`.
    """
    for item in player.inventory:
        if item.slot == slot:
            return item
    raise ActionRefused("empty_slot", f"there is nothing in slot {slot}")


def check_seen(player: Player, slot: int, item_id: str | None, serial: int | None) -> None:
    """Check that a slot holds the item and serial that the client saw; None: the client does not say.

    Raises:
        ActionRefused: `slot_changed`.
    """
    held = next((item for item in player.inventory if item.slot == slot), None)
    if held is not None and (item_id not in {None, held.item_id} or serial not in {None, held.serial}):
        raise ActionRefused("slot_changed", f"slot {slot} holds {held.item_id} now")


def free_slots(player: Player) -> list[int]:
    """The empty slots, lowest first."""
    taken = {item.slot for item in player.inventory}
    return [slot for slot in range(INVENTORY_SLOTS) if slot not in taken]


def take(player: Player, slot: int, count: int) -> Item:
    """Take `count` items out of a slot; returns them.

    Raises:
        ActionRefused: `empty_slot` or `not_enough`.
    """
    item = in_slot(player, slot)
    if item.count < count:
        raise ActionRefused("not_enough", f"slot {slot} has {item.count}")
    left = [Item(item.item_id, item.count - count, slot, item.serial)] if item.count > count else []
    _carry(player, [other for other in player.inventory if other is not item] + left)
    return Item(item.item_id, count, slot, item.serial)


def exchange(player: Player, slot: int, back: WornItem | None) -> Item:
    """Take one item out of a slot and put `back` into the same slot; returns the item.

    Raises:
        ActionRefused: `empty_slot`, or `slot_taken`: the rest of a stack stays in the slot.
    """
    item = in_slot(player, slot)
    left = [Item(item.item_id, item.count - 1, slot, item.serial)] if item.count > 1 else []
    came = [Item(back.item_id, 1, slot, back.serial)] if back is not None else []
    _carry(player, [other for other in player.inventory if other is not item] + left + came)
    return Item(item.item_id, 1, slot, item.serial)


def has_shared_slots(player: Player) -> bool:
    """Whether a slot holds more than one item, as in some records of older releases."""
    return len({item.slot for item in player.inventory}) < len(player.inventory)


def give(player: Player, world: World, item_id: str, count: int, serial: int | None = None) -> Item:
    """Put items into the inventory: onto their stack, or into the lowest free slot.

    Args:
        player: The receiving player.
        world: Knows the items that stack and the height of their stacks.
        item_id: Name of the item.
        count: Number of items; 1 if there is a serial.
        serial: Serial of an item that does not stack.

    Returns:
        The new content of the slot.

    Raises:
        ActionRefused: `inventory_full` or `stack_full`.
    """
    kind = world.item(item_id)
    stack = next((item for item in player.inventory if item.item_id == item_id and item.serial is None), None)
    if serial is None and stack is not None and kind.stackable:
        _check_stack(kind, item_id, stack.count + count)
        filled = Item(item_id, stack.count + count, stack.slot)
    else:
        stack = None
        _check_stack(kind, item_id, count)
        free = free_slots(player)
        if not free:
            raise ActionRefused("inventory_full", f"all {INVENTORY_SLOTS} slots are taken")
        filled = Item(item_id, count, free[0], serial)
    _carry(player, [item for item in player.inventory if item is not stack] + [filled])
    return filled


def earn(player: Player, gold: int) -> None:
    """Put gold into the purse.

    Raises:
        ActionRefused: `purse_full`.
    """
    if player.gold + gold > GOLD_MAX:
        raise ActionRefused("purse_full", f"a purse holds {GOLD_MAX}")
    player.gold += gold


def bank(player: Player, world: World, item: Item) -> None:
    """Put items into the bank.

    Raises:
        ActionRefused: `bank_full` or `stack_full`.
    """
    entries = [*player.bank]
    for index, entry in enumerate(entries):
        if item.serial is None and entry.item_id == item.item_id and entry.serial is None:
            _check_stack(world.item(item.item_id), item.item_id, entry.count + item.count)
            entries[index] = StoredItem(item.item_id, entry.count + item.count)
            player.bank = entries
            return
    if len(entries) >= BANK_ENTRIES_MAX:
        raise ActionRefused("bank_full", f"the bank has {BANK_ENTRIES_MAX} places")
    player.bank = [*entries, StoredItem(item.item_id, item.count, item.serial)]


def unbank(player: Player, item_id: str, count: int) -> list[StoredItem]:
    """Take items out of the bank, from their stack or one by one; returns them.

    Raises:
        ActionRefused: `not_enough`.
    """
    taken: list[StoredItem] = []
    left: list[StoredItem] = []
    wanted = count
    for entry in player.bank:
        part = min(wanted, entry.count) if entry.item_id == item_id else 0
        wanted -= part
        if part:
            taken.append(StoredItem(item_id, part, entry.serial))
        if part < entry.count:
            left.append(StoredItem(entry.item_id, entry.count - part, entry.serial))
    if wanted:
        raise ActionRefused("not_enough", f"the bank has {count - wanted} of {item_id}")
    player.bank = left
    return taken


def unpack_parcels(player: Player, world: World) -> None:
    """Move the contents of parcels into the inventory as far as there is room."""
    waiting: list[StoredItem] = []
    for parcel in player.parcels:
        try:
            give(player, world, parcel.item_id, parcel.count, parcel.serial)
        except ActionRefused:
            waiting.append(parcel)
    if len(waiting) < len(player.parcels):
        player.parcels = waiting


def _carry(player: Player, items: list[Item]) -> None:
    """Replace the inventory, unless two items would share a slot; every change of an inventory ends here.

    Raises:
        ActionRefused: `slot_taken`.
    """
    if len({item.slot for item in items}) < len(items) and not has_shared_slots(player):  # an old one may be cleared
        raise ActionRefused("slot_taken", "a slot holds one item")
    player.inventory = items


def _check_stack(kind: ItemKind, item_id: str, count: int) -> None:
    if count > kind.stack_max:
        raise ActionRefused("stack_full", f"{item_id} stacks to {kind.stack_max}")
