"""What an action may look at and change beside the player's own record."""

from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Final

from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.content import World
from realmkeep.realm.world.places import Place, Places, near
from realmkeep.realm.world.player import Player

SERIALS_PER_BLOCK: Final = 1024  # taken from the realm's counter at once
SERIALS_LOW: Final = 512  # 24 slots of twenty purchases in flight


class Serials:
    """Numbers that are unique in the realm, made in blocks so that no purchase waits for the counter."""

    def __init__(self) -> None:
        self._ready = deque[int]()

    @property
    def low(self) -> bool:
        """Whether the next block should be fetched."""
        return len(self._ready) < SERIALS_LOW

    def add_block(self, first: int) -> None:
        """Take over an allocated block; numbers that are never used stay unused."""
        self._ready.extend(range(first, first + SERIALS_PER_BLOCK))

    def take_serial(self) -> int:
        """A serial that nothing else has.

        Raises:
            Refused: `busy`: the store has not given us the next block yet.
        """
        if not self._ready:
            raise ActionRefused("busy", "no serials are at hand; try again in a moment")
        return self._ready.popleft()


@dataclass(frozen=True)
class NamedPlayer:
    """A player as another one names it, online or not.

    Attributes:
        player_id: Its id.
        name: Its name.
        blocked: Whom it blocks, as far as that is known when it is named; it is looked at again when mail is opened.
    """

    player_id: int
    name: str
    blocked: frozenset[int] = frozenset()


@dataclass
class Scene:
    """The moment in which an action happens.

    Attributes:
        random: The only source of chance.
        now_s: Monotonic time.
        wall_us: Wall time.
        other: Who the intent names, where it names somebody.
        unique_loot: Items with a serial that fell and have yet to be written into their zone.
    """

    world: World
    places: Places
    serials: Serials
    random: Random
    now_s: float
    wall_us: int
    other: NamedPlayer | None = None
    unique_loot: list[tuple[Place, str, float, float]] = field(default_factory=list[tuple[Place, str, float, float]])

    def place(self, player: Player) -> Place:
        """Where the player is."""
        return self.places.place_of(player)

    def in_combat(self, player: Player) -> bool:
        """Whether the last blow is recent."""
        return player.combat_until_us > self.wall_us

    def in_reach(self, player: Player, x: float, y: float) -> bool:
        """Whether the player stands close enough to a shop, bank or quest giver."""
        return near(player.x, player.y, x, y, self.world.rules.reach_tiles)

    def in_arm(self, player: Player, x: float, y: float) -> bool:
        """Whether the player can touch what is there."""
        return near(player.x, player.y, x, y, self.world.rules.arm_tiles)
