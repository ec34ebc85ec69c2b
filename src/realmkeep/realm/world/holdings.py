"""What the realm's records and letters hold, for the checks of a backup."""

from collections.abc import Mapping
from typing import Final, cast

from realmkeep.operations.backup.holdings import Holdings, Tally
from realmkeep.realm.world.mail_letter import MailLetter
from realmkeep.realm.world.player import Item, Player, StoredItem, WornItem
from realmkeep.realm.world.zone import GroundItem, Zone


def count(held: object, tally: Tally) -> None:
    """Count the gold and the items of a player, of a zone's ground, or of a letter under way."""
    match held:
        case Player():
            tally.add("gold", held.gold + held.bank_gold)
            for item in (*held.inventory, *held.bank, *held.parcels, *held.equipment.values()):
                _count_item(item, tally)
        case Zone():
            for item in held.ground:
                _count_item(item, tally)
        case MailLetter():
            tally.add("gold", held.gold or 0)
            if held.item is not None:
                _count_one(held.item, held.count or 1, held.serial, tally)
        case Mapping():  # a letter that was stored before letters had types
            count(MailLetter.of_plain(dict(cast("Mapping[str, object]", held))), tally)
        case _:
            pass


def _count_item(item: Item | StoredItem | WornItem | GroundItem, tally: Tally) -> None:
    _count_one(item.item_id, getattr(item, "count", 1), item.serial, tally)


def _count_one(name: str, count: int, serial: int | None, tally: Tally) -> None:
    tally.add(name, count)
    tally.add_serial(serial)


HOLDINGS: Final = Holdings(
    records=(Player, Zone), letters=(MailLetter,), count=count, players=Player, refers={Player: ("friends", "blocked")}
)
