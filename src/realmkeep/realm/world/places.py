"""The zones in memory: their players, monsters and items on the ground."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from realmkeep.realm.world.content import GroundSpot, MonsterKind, World, ZoneKind, distance
from realmkeep.realm.world.player import Player
from realmkeep.realm.world.zone import GroundItem, Zone

COMMON_MAX: Final = 200  # items without a serial on the ground of one zone; the oldest goes first
SERIALS_MAX: Final = 200  # items with a serial on the ground of one zone, so that its record stays small


@dataclass(eq=False)
class Monster:
    """A monster at its spot.

    Attributes:
        spot: Name of its spot in the zone's record.
        target: Id of the player that it fights.
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
        """Whether players can see and fight it."""
        return self.hp > 0

    def revive(self) -> None:
        """Put it back at its home, in full health."""
        self.x, self.y, self.hp, self.target = self.home_x, self.home_y, self.kind.hp, None


@dataclass(eq=False)
class GroundObject:
    """Items on the ground.

    Attributes:
        serial: None for a common item; common items lie in memory only.
        spot: Name of the spot where it grew; None if it was dropped.
        decays_s: Monotonic time at which it disappears; None: never.
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
    """One zone in memory.

    Attributes:
        record: The zone's record: its durable part.
        present: The players in the zone by id, those in grace included.
        growing: The empty spots, by name: their item has yet to grow back.
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
        """Lay common items down; beyond `COMMON_MAX` the oldest disappears."""
        common = [thing for thing in self.ground.values() if thing.serial is None and thing.spot is None]
        if len(common) >= COMMON_MAX:
            del self.ground[common[0].ground_id]
        return self._add(GroundObject(next(self.ids), item, item_count, x, y, decays_s=decays_s))

    def show_serial(self, item: GroundItem) -> GroundObject:
        """Show an item with a serial that the zone's record holds."""
        return self._add(GroundObject(next(self.ids), item.item_id, 1, item.x, item.y, serial=item.serial))

    def grow_at(self, name: str, spot: GroundSpot) -> GroundObject:
        """Let the item of a spot grow."""
        self.growing.pop(name, None)
        return self._add(GroundObject(next(self.ids), spot.item, spot.count, spot.x, spot.y, spot=name))

    def remove_object(self, thing: GroundObject) -> None:
        """Remove items from the ground."""
        self.ground.pop(thing.ground_id, None)

    def pick_up(self, thing: GroundObject, wall_us: int) -> None:
        """Remove picked-up common items; if they grew at a spot, schedule their return."""
        self.remove_object(thing)
        if (spot := self.spot_of(thing)) is not None and thing.spot is not None:
            self.growing[thing.spot] = spot
            self.schedule_respawn(thing.spot, wall_us + int(spot.respawn_s * 1e6))

    def spot_of(self, thing: GroundObject) -> GroundSpot | None:
        """The spot where the items grew; None if they were dropped."""
        return dict(spots(self.kind)).get(thing.spot) if thing.spot else None

    def sync_with_record(self) -> None:
        """Make the ground agree with the record: exactly its items with serials, and nothing at its empty spots."""
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
        """Record the time at which the monster or item of a spot comes back."""
        self.record.respawns[spot] = wall_us
        self.record.touch("respawns")

    def clear_respawn(self, spot: str) -> None:
        """Forget the pending return of a spot's monster or item."""
        if self.record.respawns.pop(spot, None) is not None:
            self.record.touch("respawns")

    def _add(self, thing: GroundObject) -> GroundObject:
        self.ground[thing.ground_id] = thing
        return thing


def spots(kind: ZoneKind) -> Iterator[tuple[str, GroundSpot]]:
    """The spots where items grow, each with its name in the zone's record."""
    return ((f"{spot.item}@{spot.x:g},{spot.y:g}", spot) for spot in kind.ground)


class Places:
    """All zones of one server.

    Args:
        world: The content.
        records: The zones' records, by zone name.
        wall_us: The present wall time: respawns due by then have happened.
    """

    def __init__(self, world: World, records: dict[str, Zone], wall_us: int) -> None:
        self.world = world
        ids = count(1)
        self.by_name = {
            name: _populated(Place(name, kind, records[name], ids), world, wall_us)
            for name, kind in world.zones.items()
        }

    def place_of(self, player: Player) -> Place:
        """The zone of a player."""
        return self.by_name[player.zone_id]

    def add_player(self, player: Player) -> None:
        """Put a player at its recorded position, or at the start if its zone no longer has that position."""
        if self.world.zone_at(player.x, player.y) != player.zone_id:
            player.zone_id, player.x, player.y = self.world.start
        self.place_of(player).present[player.player_id] = player

    def remove_player(self, player: Player) -> None:
        """Take a player out of its zone."""
        for place in self.by_name.values():
            place.present.pop(player.player_id, None)

    def move_player(self, player: Player, zone: str, x: float, y: float) -> None:
        """Put a player at another position."""
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
    """Whether two points are at most `tiles` apart."""
    return distance(x, y, to_x, to_y) <= tiles
