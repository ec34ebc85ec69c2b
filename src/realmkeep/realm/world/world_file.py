"""The reader of the data file: it reports all problems at once, each with its line."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any, Final, TypeVar, cast

import msgspec

from realmkeep.errors import ConfigError
from realmkeep.realm.world.content import ItemKind, MonsterKind, QuestKind, Rules, World, ZoneKind
from realmkeep.realm.world.inventory import GOLD
from realmkeep.realm.world.player import INVENTORY_SLOTS
from realmkeep.realm.world.toml_lines import line_numbers, line_of

WORLD_FILE: Final = "world.toml"
NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}")

T = TypeVar("T")


def shipped_world() -> World:
    """The world that comes with the package. Blocks on reading the file.

    Raises:
        ConfigError: The file has errors; the message lists each with its line.
    """
    return read_world(
        resources.files(__name__.rpartition(".")[0]).joinpath(WORLD_FILE).read_text(encoding="utf-8"), WORLD_FILE
    )


def read_world(text: str, name: str) -> World:
    """Read a data file.

    Args:
        text: The file's text.
        name: The file's name in error messages.

    Raises:
        ConfigError: The text is not TOML, or a name, type or value in it is wrong, or a reference points nowhere; the
            message lists each problem with its line.
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
    """Converts the tables into the structures of `content` and collects the problems, by path."""

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
    """Problems between parts that are well-formed by themselves."""
    for name, item in world.items.items():
        if item.stackable and item.equipment is not None:
            yield f"items.{name}.equipment", "an item that is worn cannot be stackable"
    if GOLD in world.items:
        yield f"items.{GOLD}", "is reserved: it is the name of money"
    yield from _rules_problems(world)
    for name, monster in world.monsters.items():
        for number, loot in enumerate(monster.loot):
            path = f"monsters.{name}.loot[{number}]"
            yield from _unknown(loot.item, world.items, "item", f"{path}.item")
            yield from _unstackable_count(loot.item, loot.count, world, f"{path}.count")
            yield from _excessive_count(loot.item, loot.count, world, f"{path}.count")
    for name, quest in world.quests.items():
        for number, stage in enumerate(quest.stages):
            known = {"kill": world.monsters, "visit": world.zones}.get(stage.goal)
            if known is not None:
                yield from _unknown(stage.target, known, stage.goal, f"quests.{name}.stages[{number}].target")
        yield from _gift_problems(quest.reward.items, world, f"quests.{name}.reward.items")
    for name, zone in world.zones.items():
        yield from _zone_problems(f"zones.{name}", zone, world)


def _gift_problems(items: Mapping[str, int], world: World, path: str) -> Iterator[tuple[str, str]]:
    """Items that a player gets at once must fit; otherwise no player could begin, or finish the quest."""
    slots = 0
    for item, count in items.items():
        yield from _unknown(item, world.items, "item", path)
        yield from _excessive_count(item, count, world, path)
        slots += 1 if world.item(item).stackable else count
    if slots > INVENTORY_SLOTS:
        yield path, f"needs {slots} slots, and there are {INVENTORY_SLOTS}"


def _rules_problems(world: World) -> Iterator[tuple[str, str]]:
    yield from _gift_problems(world.rules.start_items, world, "rules.start_items")
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
        yield from _unstackable_count(ground.item, ground.count, world, f"{path}.ground[{number}].count")
        yield from _excessive_count(ground.item, ground.count, world, f"{path}.ground[{number}].count")


def _named_in(path: str, zone: ZoneKind, world: World) -> Iterator[tuple[str, Mapping[str, object], str]]:
    """The names that a zone refers to, each with the table that must have it and its path."""
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


def _unstackable_count(item: str, count: int, world: World, path: str) -> Iterator[tuple[str, str]]:
    if count > 1 and not world.item(item).stackable:
        yield path, f"{item!r} does not stack: the count must be 1"


def _excessive_count(item: str, count: int, world: World, path: str) -> Iterator[tuple[str, str]]:
    kind = world.items.get(item)
    if kind is not None and kind.stackable and count > kind.stack_max:
        yield path, f"{item!r} stacks to {kind.stack_max}: no player could carry so many"


def _unknown(name: str, known: Mapping[str, object], what: str, path: str) -> Iterator[tuple[str, str]]:
    if name not in known:
        yield path, f"there is no such {what}: {name!r}"
