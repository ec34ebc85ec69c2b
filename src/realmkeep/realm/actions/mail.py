"""Mail: gold or an item, delivered whether the other is here, elsewhere or offline."""

from typing import Any

from realmkeep import Tx
from realmkeep.realm.actions.scene import Scene
from realmkeep.realm.wire.intents import Mail
from realmkeep.realm.world.content import World
from realmkeep.realm.world.inventory import give, take, unpack_parcels
from realmkeep.realm.world.player import GOLD_MAX, PARCELS_MAX, Player, Stored
from realmkeep.realm.world.refused import Refused


def mail(tx: Tx, player: Player, scene: Scene, intent: Mail) -> dict[str, Any]:
    """Send; what is sent leaves the sender in the commit that puts it into the other's inbox.

    Raises:
        Refused: `not_to_oneself`, `blocked`, `not_enough_gold`, `empty_slot` or `not_enough`.
    """
    other = scene.other
    assert other is not None  # whoever runs this has looked the receiver up
    if other.player_id == player.player_id:
        raise Refused("not_to_oneself", "mail goes to somebody else")
    if player.player_id in other.blocked:
        raise Refused("blocked", f"{other.name} takes no mail of yours")
    letter: dict[str, Any] = {"from": player.player_id, "name": player.name}
    if intent.gold is not None:
        if intent.gold > player.gold:
            raise Refused("not_enough_gold", f"there are {player.gold}")
        player.gold -= intent.gold
        letter["gold"] = intent.gold
    elif intent.slot is not None and intent.count is not None:
        sent = take(player, intent.slot, intent.count)
        letter |= {"item": sent.item_id, "count": sent.count, "serial": sent.serial}
        unpack_parcels(player, scene.world)
    tx.deliver(Player, other.player_id, letter)
    return {"player": other.player_id, "sent": _content(letter)}


def receive(tx: Tx, player: Player, world: World, letter: dict[str, Any]) -> dict[str, Any]:
    """Apply a letter inside the commit that takes it out of the inbox; returns the `event` for the client.

    What finds no slot waits in a parcel. When there are too many of those, when the purse is full, or when the sender is
    blocked, the letter goes back, and what comes back is always taken.
    """
    returned = bool(letter.get("returned"))
    fits = len(player.parcels) < PARCELS_MAX if "item" in letter else player.gold + letter["gold"] <= GOLD_MAX
    if not returned and (letter["from"] in player.blocked or not fits):
        back = {**letter, "from": player.player_id, "name": player.name, "returned": True}
        tx.deliver(Player, letter["from"], back)
        return {}
    if "gold" in letter:
        player.gold += letter["gold"]
    else:
        try:
            give(player, world, letter["item"], letter["count"], letter["serial"])
        except Refused:
            player.parcels = [*player.parcels, Stored(letter["item"], letter["count"], letter["serial"])]
    return {
        "type": "event",
        "kind": "mail",
        "player": letter["from"],
        "name": letter["name"],
        "returned": returned,
        "sent": _content(letter),
    }


def _content(letter: dict[str, Any]) -> dict[str, Any]:
    return {name: letter[name] for name in ("gold", "item", "count", "serial") if letter.get(name) is not None}
