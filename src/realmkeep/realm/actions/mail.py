"""Mail: gold or items for another player on any server, online or not."""

from typing import Any

from realmkeep import Keeper, Later, Return, Returned
from realmkeep.realm.actions.scene import Scene
from realmkeep.realm.wire import intents
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.content import World
from realmkeep.realm.world.inventory import give, take, unpack_parcels
from realmkeep.realm.world.mail_letter import MailLetter
from realmkeep.realm.world.player import GOLD_MAX, PARCELS_MAX, Player, StoredItem


def mail(player: Player, scene: Scene, intent: intents.Mail) -> dict[str, Any]:
    """Send gold or items: one commit takes them from the sender and puts the letter into the receiver's inbox.

    Raises:
        ActionRefused: `not_to_oneself`, `blocked`, `not_enough_gold`, `empty_slot` or `not_enough`.
    """
    other = scene.other
    assert other is not None  # the intent handler has looked the receiver up
    if other.player_id == player.player_id:
        raise ActionRefused("not_to_oneself", "mail goes to another player")
    if player.player_id in other.blocked:
        raise ActionRefused("blocked", f"{other.name} takes no mail of yours")
    content: dict[str, Any] = {}
    if intent.gold is not None:
        if intent.gold > player.gold:
            raise ActionRefused("not_enough_gold", f"there are {player.gold}")
        player.gold -= intent.gold
        content = {"gold": intent.gold}
    elif intent.slot is not None and intent.count is not None:
        sent = take(player, intent.slot, intent.count)
        content = {"item": sent.item_id, "count": sent.count, "serial": sent.serial}
        unpack_parcels(player, scene.world)
    letter = MailLetter(
        sender=player.player_id,
        sender_name=player.name,
        receiver=other.player_id,
        receiver_name=other.name,
        **content,
    )
    scene.keeper.tx.deliver(Player, other.player_id, letter)
    return {"player": other.player_id, "sent": letter.content}


def receive(player: Player, world: World, letter: MailLetter) -> dict[str, Any]:
    """Apply a letter inside the commit that takes it out of the inbox; returns the `event` for the client.

    Items that find no free slot wait in a parcel.

    Raises:
        Return: The receiver blocks the sender, or has no room for another parcel or the gold: the letter goes back.
    """
    if letter.sender in player.blocked:
        raise Return("blocked")
    if not _fits(player, letter):
        raise Return("no_room")
    _put(player, world, letter)
    return _event(letter, letter.sender, letter.sender_name, returned=False)


def take_back(player: Player, world: World, returned: Returned) -> dict[str, Any]:
    """Take back a letter that its receiver did not get; returns the `event` for the client, with the reason.

    Raises:
        Later: The sender has no room for another parcel or the gold: the letter waits until there is room.
    """
    opened = returned.open(MailLetter)
    letter = opened if isinstance(opened, MailLetter) else MailLetter.of_plain(opened)
    if not _fits(player, letter):
        raise Later("there is no room for the returned mail")
    _put(player, world, letter)
    event = _event(letter, letter.receiver, letter.receiver_name, returned=True)
    return {**event, "reason": returned.reason.replace(" ", "_")}


def receive_plain(keeper: Keeper, player: Player, world: World, letter: dict[str, Any]) -> dict[str, Any]:
    """As `receive`, for a letter that was stored before letters had types; its return is a plain letter, too.

    Raises:
        Later: The letter came back, and there is no room for it.
    """
    opened = MailLetter.of_plain(letter)
    returned = bool(letter.get("returned"))
    fits = _fits(player, opened)
    if returned and not fits:
        raise Later("there is no room for the returned mail")
    if not returned and (
        opened.sender in player.blocked or not fits
    ):  # a letter of plain values is outside the economy
        back = {**letter, "from": player.player_id, "name": player.name, "returned": True}
        keeper.tx.deliver(Player, opened.sender, back)
        return {}
    _put(player, world, opened)
    keeper.tx.adjust("a letter of an older release")
    return _event(opened, opened.sender, opened.sender_name, returned=returned)


def _fits(player: Player, letter: MailLetter) -> bool:
    if letter.gold is not None:
        return player.gold + letter.gold <= GOLD_MAX
    return len(player.parcels) < PARCELS_MAX


def _put(player: Player, world: World, letter: MailLetter) -> None:
    if letter.gold is not None:
        player.gold += letter.gold
        return
    assert letter.item is not None  # a letter has one of the two
    assert letter.count is not None
    try:
        give(player, world, letter.item, letter.count, letter.serial)
    except ActionRefused:
        player.parcels = [*player.parcels, StoredItem(letter.item, letter.count, letter.serial)]


def _event(letter: MailLetter, other: int, name: str, *, returned: bool) -> dict[str, Any]:
    return {
        "type": "event",
        "kind": "mail",
        "player": other,
        "name": name,
        "returned": returned,
        "sent": letter.content,
    }
