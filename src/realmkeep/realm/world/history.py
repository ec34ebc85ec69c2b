"""The migrations of players. A step is never deleted, because a player may return after years."""

from typing import Any, Final, cast

from realmkeep.realm.world.player import Player, level_of

COINS: Final = "coins"  # the name of gold while it was an item


@Player.migration(1)
def add_lifetime_xp(player: dict[str, Any]) -> dict[str, Any]:
    """Version 2 counts all experience ever earned; it begins with the present experience."""
    player.setdefault("lifetime_xp", player.get("xp", 0))
    return player


@Player.migration(2)
def gold_is_no_item(player: dict[str, Any]) -> dict[str, Any]:
    """Version 3 keeps gold as a number and has one level above the others."""
    for holding, purse in (("inventory", "gold"), ("bank", "bank_gold")):
        items = cast("list[dict[str, Any]]", player.get(holding) or [])
        coins = sum(item.get("count", 1) for item in items if item.get("item_id") == COINS)
        player[purse] = player.get(purse, 0) + coins
        player[holding] = [item for item in items if item.get("item_id") != COINS]
    player.setdefault("level", level_of(player.get("xp", 0)))
    return player
