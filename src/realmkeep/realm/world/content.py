"""The content of the realm: the structures of its data file."""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

from msgspec import Meta, Struct

GOLDEN_ANGLE: Final = math.pi * (3 - math.sqrt(5))

Whole: TypeAlias = Annotated[int, Meta(ge=0, le=999_999)]
Positive: TypeAlias = Annotated[int, Meta(ge=1, le=999_999)]
Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=86_400)]
Tiles: TypeAlias = Annotated[float, Meta(ge=0, le=100_000)]
Chance: TypeAlias = Annotated[float, Meta(ge=0, le=1)]


class Rules(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The numbers that apply everywhere; the data file explains them."""

    walk_tiles_per_s: Annotated[float, Meta(gt=0)]
    walk_burst_s: Seconds
    reach_tiles: Tiles
    arm_tiles: Tiles
    trade_tiles: Tiles
    sight_tiles: Tiles
    attack_interval_s: Seconds
    combat_s: Seconds
    respawn_s: Seconds
    ground_decay_s: Seconds
    start_zone: str
    start_gold: Whole
    start_items: dict[str, Positive] = {}


class ItemKind(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A kind of item. An item that does not stack carries a serial."""

    stackable: bool
    price: Whole
    stack_max: Positive = 9_999
    heals: Whole = 0
    equipment: str | None = None
    attack: Whole = 0
    defense: Whole = 0

    @property
    def sell_price(self) -> int:
        """The price that a shop pays for one: half its own, so that trading with shops earns nothing."""
        return self.price // 2


INERT: Final = ItemKind(stackable=False, price=0)
"""The kind of an item that the data file no longer has: players keep it, and it has no value and no use."""


class Loot(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Items that a slain monster may leave."""

    item: str
    chance: Chance
    count: Positive = 1


class MonsterKind(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A kind of monster; it attacks a player within `hunts_tiles` by itself."""

    hp: Positive
    attack: Whole
    xp: Whole
    respawn_s: Seconds
    hunts_tiles: Tiles = 0.0
    loot: list[Loot] = []


class Stage(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One stage of a quest."""

    goal: Literal["talk", "kill", "visit"]
    target: str = ""
    count: Positive = 1


class Reward(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The reward of the last stage."""

    gold: Whole = 0
    xp: Whole = 0
    items: dict[str, Positive] = {}


class QuestKind(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A quest: its stages, in order, and its reward."""

    stages: Annotated[list[Stage], Meta(min_length=1)]
    reward: Reward = Reward()

    def stage(self, number: int) -> Stage:
        """The stage of a number, from 0; the last stage if the quest had more stages when the player was in it."""
        return self.stages[min(number, len(self.stages) - 1)]


class MonsterSpot(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The home of a monster, or of a pack of `count` within `spread_tiles`."""

    kind: str
    x: float
    y: float
    count: Annotated[int, Meta(ge=1, le=100)] = 1
    spread_tiles: Tiles = 0.0

    def lairs(self) -> Iterator[tuple[float, float]]:
        """The homes of the pack, evenly spread: the sunflower of Vogel, Mathematical Biosciences 44 (1979)."""
        for number in range(self.count):
            away, angle = self.spread_tiles * math.sqrt(number / self.count), number * GOLDEN_ANGLE
            yield round(self.x + away * math.cos(angle), 1), round(self.y + away * math.sin(angle), 1)


class GroundSpot(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A spot where an item grows back."""

    item: str
    x: float
    y: float
    respawn_s: Seconds
    count: Positive = 1


class Shop(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A place to buy and sell."""

    x: float
    y: float
    sells: list[str]


class Bank(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A place to deposit and withdraw."""

    x: float
    y: float


class Giver(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A giver of quests."""

    x: float
    y: float
    quests: list[str]


class ZoneKind(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A zone: a rectangle of the plane, including its west and north edges."""

    west: float
    north: float
    east: float
    south: float
    safe: bool = False
    arrival: tuple[float, float] | None = None
    monsters: list[MonsterSpot] = []
    ground: list[GroundSpot] = []
    shops: list[Shop] = []
    banks: list[Bank] = []
    givers: list[Giver] = []

    def holds(self, x: float, y: float) -> bool:
        """Whether a point lies in the zone."""
        return self.west <= x < self.east and self.north <= y < self.south


class StartPosition(NamedTuple):
    """The position of new and fallen players."""

    zone: str
    x: float
    y: float


class World(Struct, frozen=True, kw_only=True):
    """The whole content, by name."""

    rules: Rules
    items: Mapping[str, ItemKind]
    monsters: Mapping[str, MonsterKind]
    quests: Mapping[str, QuestKind]
    zones: Mapping[str, ZoneKind]

    @property
    def start(self) -> StartPosition:
        """The start position, in the safe zone."""
        zone = self.zones[self.rules.start_zone]
        assert zone.arrival is not None  # checked when the world was loaded
        return StartPosition(self.rules.start_zone, *zone.arrival)

    def item(self, name: str) -> ItemKind:
        """The kind of an item; `INERT` if the data file no longer has it."""
        return self.items.get(name, INERT)

    def zone_at(self, x: float, y: float) -> str | None:
        """The name of the zone around a point; None beyond the edge of the world."""
        return next((name for name, zone in self.zones.items() if zone.holds(x, y)), None)


def distance(x: float, y: float, to_x: float, to_y: float) -> float:
    """The distance between two points in tiles."""
    return math.hypot(to_x - x, to_y - y)
