"""The view of a player; this module changes nothing."""

from collections.abc import Iterable
from heapq import nsmallest
from operator import itemgetter
from typing import Any, Final, Protocol, TypeVar

from realmkeep.realm.actions.banking import bank_here
from realmkeep.realm.actions.quests import given_here
from realmkeep.realm.actions.scene import Scene
from realmkeep.realm.actions.shop import shops_here
from realmkeep.realm.wire.intents import Look
from realmkeep.realm.world.content import QuestKind, distance
from realmkeep.realm.world.player import Player

SEEN_MAX: Final = 20  # of each kind, the nearest: an answer must fit a datagram of 8 KiB, names of 128 bytes too
T = TypeVar("T", bound="Located")


class Located(Protocol):
    """An object with a position."""

    @property
    def x(self) -> float:
        """Tiles to the east."""
        ...

    @property
    def y(self) -> float:
        """Tiles to the south."""
        ...


def look(player: Player, scene: Scene, intent: Look) -> dict[str, Any]:
    """Everything in sight, the nearest first, with the goods of shops and the quests of givers within reach."""
    place = scene.place(player)
    monsters = _nearest(player, scene, (monster for monster in place.monsters.values() if monster.alive))
    ground = _nearest(player, scene, place.ground.values())
    others = _nearest(player, scene, (other for other in place.present.values() if other is not player))
    sold = sorted({item for shop in shops_here(player, scene) for item in shop.sells})
    return {
        "zone": place.name,
        "safe": place.kind.safe,
        "bank": bank_here(player, scene),
        "monsters": [
            {"id": monster.monster_id, "kind": monster.name, **_at(monster), "hp": monster.hp} for monster in monsters
        ],
        "ground": [
            {"ground_id": thing.ground_id, "item": thing.item, "count": thing.count, **_at(thing)}
            | ({"serial": thing.serial} if thing.serial is not None else {})
            for thing in ground
        ],
        "players": [{"player_id": other.player_id, "name": other.name, **_at(other)} for other in others],
        "shop": [
            {"item": item, "price": kind.price, "sell_price": kind.sell_price, "stackable": kind.stackable}
            for item in sold
            for kind in (scene.world.item(item),)
        ],
        "quests": [_quest(quest, scene.world.quests[quest]) for quest in given_here(player, scene)],
    }


def _at(thing: Located) -> dict[str, float]:
    """A position, to a hundredth of a tile: the 17 digits of sixty positions would not fit a datagram."""
    return {"x": round(thing.x, 2), "y": round(thing.y, 2)}


def _quest(name: str, kind: QuestKind) -> dict[str, Any]:
    reward = kind.reward
    return {
        "quest": name,
        "stages": [{"goal": stage.goal, "target": stage.target, "count": stage.count} for stage in kind.stages],
        "reward": {"gold": reward.gold, "xp": reward.xp, "items": dict(reward.items)},
    }


def _nearest(player: Player, scene: Scene, things: Iterable[T]) -> list[T]:
    """The objects in sight, the nearest first. Each distance is computed once, because a market may be crowded."""
    measured = [(distance(player.x, player.y, thing.x, thing.y), thing) for thing in things]
    seen = [each for each in measured if each[0] <= scene.world.rules.sight_tiles]
    return [thing for _, thing in nsmallest(SEEN_MAX, seen, key=itemgetter(0))]
