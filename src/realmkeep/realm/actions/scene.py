"""The surroundings of an action: all that it may read or change beside the player's own record."""

from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import Final

from realmkeep import Keeper
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.content import World
from realmkeep.realm.world.places import Place, Places, near
from realmkeep.realm.world.player import Player

SERIALS_PER_BLOCK: Final = 1024  # one allocation from the realm's counter
SERIALS_LOW: Final = 512  # 24 slots of twenty purchases in flight


class Serials:
    """Numbers that are unique in the realm, allocated in blocks so that no purchase waits for the counter."""

    def __init__(self) -> None:
        self._ready = deque[int]()

    @property
    def low(self) -> bool:
        """Whether it is time to fetch the next block."""
        return len(self._ready) < SERIALS_LOW

    def add_block(self, first: int) -> None:
        """Add an allocated block; numbers left at the end of this process stay unused."""
        self._ready.extend(range(first, first + SERIALS_PER_BLOCK))

    def take_serial(self) -> int:
        """A serial that no other item has.

        Raises:
            ActionRefused: `busy`: the next block has not been allocated yet.
        """
        if not self._ready:
            raise ActionRefused("busy", "no serials are at hand; try again in a moment")
        return self._ready.popleft()


@dataclass(frozen=True)
class NamedPlayer:
    """Another player that an intent names, online or not.

    Attributes:
        player_id: Its id.
        name: Its name.
        blocked: Ids of the players that it blocks, as of the lookup; the receiver of mail checks its own list again.
    """

    player_id: int
    name: str
    blocked: frozenset[int] = frozenset()


@dataclass
class Scene:
    """The surroundings and the moment of an action.

    Attributes:
        keeper: Has the transaction under way, for an action that sends a letter.
        random: The only source of chance.
        now_s: Monotonic time.
        wall_us: Wall time.
        other: The player that the intent names; None if it names none.
        unique_loot: Fallen items that need a serial: zone, item and position; a commit of the zone follows.
    """

    keeper: Keeper
    world: World
    places: Places
    serials: Serials
    random: Random
    now_s: float
    wall_us: int
    other: NamedPlayer | None = None
    unique_loot: list[tuple[Place, str, float, float]] = field(default_factory=list[tuple[Place, str, float, float]])

    def new_serial(self, reason: str) -> int:
        """A serial that no other item has; the commit under way makes its item for this reason.

        Raises:
            ActionRefused: `busy`: the next block has not been allocated yet.
        """
        serial = self.serials.take_serial()
        self.keeper.tx.mint_serial(serial, reason)
        return serial

    def place(self, player: Player) -> Place:
        """The zone of the player."""
        return self.places.place_of(player)

    def in_combat(self, player: Player) -> bool:
        """Whether the player's last fight is recent."""
        return player.combat_until_us > self.wall_us

    def in_reach(self, player: Player, x: float, y: float) -> bool:
        """Whether the player stands close enough to a shop, bank or quest giver."""
        return near(player.x, player.y, x, y, self.world.rules.reach_tiles)

    def in_arm(self, player: Player, x: float, y: float) -> bool:
        """Whether a point is within arm's length of the player."""
        return near(player.x, player.y, x, y, self.world.rules.arm_tiles)
