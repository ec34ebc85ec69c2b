"""What exists in the realm, as its data file tells it."""

import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias, TypeVar, cast

import msgspec
from msgspec import Meta, Struct

from realmkeep.errors import ConfigError
from realmkeep.realm.world.toml_lines import line_numbers, line_of

WORLD_FILE: Final = "world.toml"
GOLDEN_ANGLE: Final = math.pi * (3 - math.sqrt(5))
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")

Whole: TypeAlias = Annotated[int, Meta(ge=0, le=999_999)]
Positive: TypeAlias = Annotated[int, Meta(ge=1, le=999_999)]
Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=86_400)]
Tiles: TypeAlias = Annotated[float, Meta(ge=0, le=100_000)]
Chance: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
T = TypeVar("T")


class Rules(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The numbers that hold everywhere; the data file explains them."""

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
    """An item that exists. One that does not stack carries a serial."""

    stackable: bool
    price: Whole
    stack_max: Positive = 9_999
    heals: Whole = 0
    equipment: str | None = None
    attack: Whole = 0
    defense: Whole = 0

    @property
    def sell_price(self) -> int:
        """What a shop pays for one: half, so that trading with shops earns nothing."""
        return self.price // 2


INERT: Final = ItemKind(stackable=False, price=0)
"""What a player may still hold although the data file has dropped it: kept, worth nothing, good for nothing."""


class Loot(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a monster may leave behind."""

    item: str
    chance: Chance
    count: Positive = 1


class MonsterKind(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A kind of monster; `hunts_tiles` is how near one may come before it attacks by itself."""

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
    """What the last stage brings."""

    gold: Whole = 0
    xp: Whole = 0
    items: dict[str, Positive] = {}


class QuestKind(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A quest: its stages, in order, and its reward."""

    stages: Annotated[list[Stage], Meta(min_length=1)]
    reward: Reward = Reward()


class MonsterSpot(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a monster lives, or a pack of `count` within `spread_tiles`."""

    kind: str
    x: float
    y: float
    count: Annotated[int, Meta(ge=1, le=100)] = 1
    spread_tiles: Tiles = 0.0

    def lairs(self) -> Iterator[tuple[float, float]]:
        """Where each of them lives, evenly spread: the sunflower of Vogel, Mathematical Biosciences 44 (1979)."""
        for number in range(self.count):
            away, angle = self.spread_tiles * math.sqrt(number / self.count), number * GOLDEN_ANGLE
            yield round(self.x + away * math.cos(angle), 1), round(self.y + away * math.sin(angle), 1)


class GroundSpot(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where an item grows back."""

    item: str
    x: float
    y: float
    respawn_s: Seconds
    count: Positive = 1


class Shop(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where one buys and sells."""

    x: float
    y: float
    sells: list[str]


class Bank(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where one deposits and withdraws."""

    x: float
    y: float


class Giver(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who has quests."""

    x: float
    y: float
    quests: list[str]


class ZoneKind(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A rectangle of the one plane; the west and north edges belong to it."""

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
        """Whether a point lies in it."""
        return self.west <= x < self.east and self.north <= y < self.south


class Start(NamedTuple):
    """Where new and fallen players stand."""

    zone: str
    x: float
    y: float


class World(Struct, frozen=True, kw_only=True):
    """Everything that exists, each by its name."""

    rules: Rules
    items: Mapping[str, ItemKind]
    monsters: Mapping[str, MonsterKind]
    quests: Mapping[str, QuestKind]
    zones: Mapping[str, ZoneKind]

    @property
    def start(self) -> Start:
        """The safe place."""
        zone = self.zones[self.rules.start_zone]
        assert zone.arrival is not None  # checked when the world was loaded
        return Start(self.rules.start_zone, *zone.arrival)

    def item(self, name: str) -> ItemKind:
        """The item of this name; `INERT` for one that is no more."""
        return self.items.get(name, INERT)

    def zone_at(self, x: float, y: float) -> str | None:
        """The zone a point lies in; None beyond the edge of the world."""
        return next((name for name, zone in self.zones.items() if zone.holds(x, y)), None)


def shipped_world() -> World:
    """The world that comes with the package. Blocks on reading the file.

    Raises:
        ConfigError: The file is wrong; every problem is named with its line.
    """
    return read_world(
        resources.files(__name__.rpartition(".")[0]).joinpath(WORLD_FILE).read_text(encoding="utf-8"), WORLD_FILE
    )


def read_world(text: str, name: str) -> World:
    """Read a data file.

    Args:
        text: The file's text.
        name: What to call it in errors.

    Raises:
        ConfigError: It is not TOML, or something in it has a wrong name, type or value, or names what does not exist;
            every problem is named with its line.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: {error}") from error
    reading = _Reading(tables, line_numbers(text))
    world = reading.world()
    if world is not None:
        reading.problems += [(path, problem) for path, problem in _contradictions(world)]
    if reading.problems or world is None:
        problems = sorted((line_of(path, reading.lines), path, problem) for path, problem in reading.problems)
        raise ConfigError("\n".join(f"{name}:{line}: {path}: {problem}" for line, path, problem in problems))
    return world


class _Reading:
    """Turns tables into the structures above and collects what is wrong with them, by path."""

    def __init__(self, tables: dict[str, Any], lines: dict[str, int]) -> None:
        self.lines = lines
        self.problems: list[tuple[str, str]] = [
            (table, "no such table") for table in tables if table not in World.__struct_fields__
        ]
        self._tables = tables

    def world(self) -> World | None:
        rules = self._one("rules", self._tables.get("rules", {}), Rules)
        named = {
            "items": self._named("items", ItemKind),
            "monsters": self._named("monsters", MonsterKind),
            "quests": self._named("quests", QuestKind),
            "zones": self._named("zones", ZoneKind),
        }
        return None if rules is None or self.problems else World(rules=rules, **cast("Any", named))

    def _named(self, table: str, kind: type[T]) -> dict[str, T]:
        found: dict[str, T] = {}
        for name, value in self._tables.get(table, {}).items():
            if not NAME.fullmatch(name):
                self.problems.append((f"{table}.{name}", "a name has letters a-z, digits and '_'"))
            entry = self._one(f"{table}.{name}", value, kind)
            if entry is not None:
                found[name] = entry
        return found

    def _one(self, path: str, value: object, kind: type[T]) -> T | None:
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            problem, _, inner = str(error).partition(" - at `$")
            unknown = re.search(r"unknown field `(\w+)`", problem)
            deeper = inner.rstrip("`") + (f".{unknown[1]}" if unknown else "")
            self.problems.append((path + deeper, problem))
            return None


def _contradictions(world: World) -> Iterator[tuple[str, str]]:
    """What is wrong between parts that are each well-formed."""
    yield from _rules_problems(world)
    for name, monster in world.monsters.items():
        for number, loot in enumerate(monster.loot):
            yield from _unknown(loot.item, world.items, "item", f"monsters.{name}.loot[{number}].item")
            yield from _not_alone(loot.item, loot.count, world, f"monsters.{name}.loot[{number}].count")
    for name, quest in world.quests.items():
        for number, stage in enumerate(quest.stages):
            known = {"kill": world.monsters, "visit": world.zones}.get(stage.goal)
            if known is not None:
                yield from _unknown(stage.target, known, stage.goal, f"quests.{name}.stages[{number}].target")
        for item in quest.reward.items:
            yield from _unknown(item, world.items, "item", f"quests.{name}.reward.items")
    for name, zone in world.zones.items():
        yield from _zone_problems(f"zones.{name}", zone, world)


def _rules_problems(world: World) -> Iterator[tuple[str, str]]:
    for item in world.rules.start_items:
        yield from _unknown(item, world.items, "item", "rules.start_items")
    start = world.zones.get(world.rules.start_zone)
    if start is None or not start.safe or start.arrival is None:
        yield "rules.start_zone", f"{world.rules.start_zone!r} is no safe zone with an `arrival`"


def _zone_problems(path: str, zone: ZoneKind, world: World) -> Iterator[tuple[str, str]]:
    if zone.west >= zone.east or zone.north >= zone.south:
        yield f"{path}.east", "east lies east of west, and south south of north"
    if zone.arrival is not None and not zone.holds(*zone.arrival):
        yield f"{path}.arrival", "lies outside its zone"
    for other, kind in world.zones.items():
        if kind is not zone and _overlap(zone, kind):
            yield path, f"overlaps {other}"
    for what in ("monsters", "ground", "shops", "banks", "givers"):
        for number, spot in enumerate(getattr(zone, what)):
            if not zone.holds(spot.x, spot.y):
                yield f"{path}.{what}[{number}].x", "lies outside its zone"
    yield from _crowding(path, zone, world)
    for name, known, where in _named_in(path, zone, world):
        yield from _unknown(name, known, "name", where)


def _crowding(path: str, zone: ZoneKind, world: World) -> Iterator[tuple[str, str]]:
    for number, pack in enumerate(zone.monsters):
        if not all(zone.holds(x, y) for x, y in pack.lairs()):
            yield f"{path}.monsters[{number}].spread_tiles", "the pack does not fit into its zone"
    for number, ground in enumerate(zone.ground):
        yield from _not_alone(ground.item, ground.count, world, f"{path}.ground[{number}].count")


def _named_in(path: str, zone: ZoneKind, world: World) -> Iterator[tuple[str, Mapping[str, object], str]]:
    """What a zone names, where it has to be found, and the path of the name."""
    for number, monster in enumerate(zone.monsters):
        yield monster.kind, world.monsters, f"{path}.monsters[{number}].kind"
    for number, ground in enumerate(zone.ground):
        yield ground.item, world.items, f"{path}.ground[{number}].item"
    for number, shop in enumerate(zone.shops):
        yield from ((item, world.items, f"{path}.shops[{number}].sells") for item in shop.sells)
    for number, giver in enumerate(zone.givers):
        yield from ((quest, world.quests, f"{path}.givers[{number}].quests") for quest in giver.quests)


def _overlap(one: ZoneKind, other: ZoneKind) -> bool:
    return one.west < other.east and other.west < one.east and one.north < other.south and other.north < one.south


def _not_alone(item: str, count: int, world: World, path: str) -> Iterator[tuple[str, str]]:
    if count > 1 and not world.item(item).stackable:
        yield path, f"{item!r} does not stack: one lies there, with a serial of its own"


def _unknown(name: str, known: Mapping[str, object], what: str, path: str) -> Iterator[tuple[str, str]]:
    if name not in known:
        yield path, f"there is no such {what}: {name!r}"


def distance(x: float, y: float, to_x: float, to_y: float) -> float:
    """Tiles between two points."""
    return math.hypot(to_x - x, to_y - y)
