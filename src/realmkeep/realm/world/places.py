"""The zones as they live in memory: who is there, which monsters, what lies on the ground."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from realmkeep.realm.world.content import GroundSpot, MonsterKind, World, ZoneKind, distance
from realmkeep.realm.world.player import Player
from realmkeep.realm.world.zone import GroundItem, Zone

COMMON_MAX: Final = 200  # common things on the ground of one zone; the oldest goes first
SERIALS_MAX: Final = 200  # items with a serial on the ground of one zone, so that its record stays small


@dataclass(eq=False)
class Monster:
    """A monster at its spot.

    Attributes:
        spot: Names the spot in the zone's record.
        target: The player it fights.
    """

    monster_id: int
    name: str
    kind: MonsterKind
    spot: str
    home_x: float
    home_y: float
    x: float
    y: float
    hp: int
    target: int | None = None
    next_attack_s: float = 0.0

    @property
    def alive(self) -> bool:
        """Whether it can be seen and fought."""
        return self.hp > 0

    def revive(self) -> None:
        """Stand at home in full health."""
        self.x, self.y, self.hp, self.target = self.home_x, self.home_y, self.kind.hp, None


@dataclass(eq=False)
class GroundObject:
    """A thing on the ground.

    Attributes:
        serial: None for a common thing, which lies in memory only.
        spot: Where it grew, in the zone's record; None if it was dropped.
        decays_s: When it is gone, on the monotonic clock; None: never.
    """

    ground_id: int
    item: str
    count: int
    x: float
    y: float
    serial: int | None = None
    spot: str | None = None
    decays_s: float | None = None


@dataclass(eq=False)
class Place:
    """One zone.

    Attributes:
        record: What of it is kept.
        present: The players in it, in grace too, by id.
        growing: The spots whose thing has been taken, by name.
    """

    name: str
    kind: ZoneKind
    record: Zone
    ids: Iterator[int]
    monsters: dict[int, Monster] = field(default_factory=dict[int, Monster])
    ground: dict[int, GroundObject] = field(default_factory=dict[int, GroundObject])
    present: dict[int, Player] = field(default_factory=dict[int, Player])
    growing: dict[str, GroundSpot] = field(default_factory=dict[str, GroundSpot])

    def lay_common(self, item: str, item_count: int, x: float, y: float, *, decays_s: float | None) -> GroundObject:
        """Lay a common thing down; the oldest one goes when there are too many."""
        common = [thing for thing in self.ground.values() if thing.serial is None and thing.spot is None]
        if len(common) >= COMMON_MAX:
            del self.ground[common[0].ground_id]
        return self._add(GroundObject(next(self.ids), item, item_count, x, y, decays_s=decays_s))

    def show_serial(self, item: GroundItem) -> GroundObject:
        """Show an item with a serial that the zone's record holds."""
        return self._add(GroundObject(next(self.ids), item.item_id, 1, item.x, item.y, serial=item.serial))

    def grow_at(self, name: str, spot: GroundSpot) -> GroundObject:
        """Let a spot's thing come up."""
        self.growing.pop(name, None)
        return self._add(GroundObject(next(self.ids), spot.item, spot.count, spot.x, spot.y, spot=name))

    def remove_object(self, thing: GroundObject) -> None:
        """Take a thing off the ground."""
        self.ground.pop(thing.ground_id, None)

    def pick_up(self, thing: GroundObject, wall_us: int) -> None:
        """A common thing is picked up; where it grew, it will grow again."""
        self.remove_object(thing)
        if (spot := self.spot_of(thing)) is not None and thing.spot is not None:
            self.growing[thing.spot] = spot
            self.schedule_respawn(thing.spot, wall_us + int(spot.respawn_s * 1e6))

    def spot_of(self, thing: GroundObject) -> GroundSpot | None:
        """The spot a thing grew at."""
        return dict(spots(self.kind)).get(thing.spot) if thing.spot else None

    def sync_with_record(self) -> None:
        """Let the ground show the items with a serial that the record holds and no others, and nothing at an empty spot."""
        held = {item.serial: item for item in self.record.ground}
        for thing in [*self.ground.values()]:
            if thing.serial is not None and held.pop(thing.serial, None) is None:
                self.remove_object(thing)
            elif thing.spot in self.record.respawns and (spot := self.spot_of(thing)) is not None:
                self.remove_object(thing)
                self.growing[thing.spot] = spot
        for item in held.values():
            self.show_serial(item)

    def schedule_respawn(self, spot: str, wall_us: int) -> None:
        """Remember when a spot's monster or thing comes back."""
        self.record.respawns[spot] = wall_us
        self.record.touch("respawns")

    def clear_respawn(self, spot: str) -> None:
        """A spot has what belongs there."""
        if self.record.respawns.pop(spot, None) is not None:
            self.record.touch("respawns")

    def _add(self, thing: GroundObject) -> GroundObject:
        self.ground[thing.ground_id] = thing
        return thing


def spots(kind: ZoneKind) -> Iterator[tuple[str, GroundSpot]]:
    """The spots where things grow, each with the name it has in the zone's record."""
    return ((f"{spot.item}@{spot.x:g},{spot.y:g}", spot) for spot in kind.ground)


class Places:
    """All zones of one server.

    Args:
        world: What exists.
        records: The zones' records, by zone name.
        wall_us: Now: what should have come back by then is back.
    """

    def __init__(self, world: World, records: dict[str, Zone], wall_us: int) -> None:
        self.world = world
        ids = count(1)
        self.by_name = {
            name: _populated(Place(name, kind, records[name], ids), world, wall_us)
            for name, kind in world.zones.items()
        }

    def place_of(self, player: Player) -> Place:
        """Where a player is."""
        return self.by_name[player.zone_id]

    def add_player(self, player: Player) -> None:
        """Put a player where the record says, or at the start if the world has no such place any more."""
        if self.world.zone_at(player.x, player.y) != player.zone_id:
            player.zone_id, player.x, player.y = self.world.start
        self.place_of(player).present[player.player_id] = player

    def remove_player(self, player: Player) -> None:
        """Take a player out of the world."""
        for place in self.by_name.values():
            place.present.pop(player.player_id, None)

    def move_player(self, player: Player, zone: str, x: float, y: float) -> None:
        """Put a player somewhere else."""
        if zone != player.zone_id:
            self.place_of(player).present.pop(player.player_id, None)
            player.zone_id = zone
            self.place_of(player).present[player.player_id] = player
        player.x, player.y = x, y


def _populated(place: Place, world: World, wall_us: int) -> Place:
    for spot in place.kind.monsters:
        kind = world.monsters[spot.kind]
        for x, y in spot.lairs():
            name = f"{spot.kind}@{x:g},{y:g}"
            monster = Monster(next(place.ids), spot.kind, kind, name, x, y, x, y, kind.hp)
            if place.record.respawns.get(name, 0) > wall_us:
                monster.hp = 0
            place.monsters[monster.monster_id] = monster
    for name, ground_spot in spots(place.kind):
        if place.record.respawns.get(name, 0) > wall_us:
            place.growing[name] = ground_spot
        else:
            place.grow_at(name, ground_spot)
    for item in place.record.ground:
        place.show_serial(item)
    return place


def near(x: float, y: float, to_x: float, to_y: float, tiles: float) -> bool:
    """Whether two points are at most so far apart."""
    return distance(x, y, to_x, to_y) <= tiles
