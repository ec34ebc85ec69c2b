"""The player's record: the specification's fields and those of this game, each with its tier."""

from collections.abc import Iterator
from typing import Final

from realmkeep import CHECKPOINT, IMMEDIATE, Part, Record, drops_to, durable, ephemeral, rises
from realmkeep.records import Keyword

INVENTORY_SLOTS: Final = 24
BANK_ENTRIES_MAX: Final = 36
FRIENDS_MAX: Final = 28
BLOCKED_MAX: Final = 28
SETTINGS_MAX: Final = 64
SETTINGS_BYTES_MAX: Final = 2_048  # as JSON: 64 settings of 32 bytes; the longest state must fit a datagram of 8 KiB
PARCELS_MAX: Final = 100
GOLD_MAX: Final = (1 << 53) - 1  # the largest integer that every client's JSON reader keeps exact
HP_PER_LEVEL: Final = 10
XP_PER_LEVEL: Final = 50  # level n begins at 50 * n * (n - 1) / 2
LEVEL_MAX: Final = 99


class Item(Part):
    """The item, or stack of items, in one slot of the inventory."""

    item_id: Keyword
    count: int
    slot: int
    serial: int | None = None


class StoredItem(Part):
    """The item, or stack of items, in the bank or in a parcel."""

    item_id: Keyword
    count: int
    serial: int | None = None


class WornItem(Part):
    """An item that the player wears or wields."""

    item_id: Keyword
    serial: int | None = None


class QuestProgress(Part):
    """The progress of a quest; `count` belongs to the current stage."""

    quest_id: Keyword
    stage: int = 0
    count: int = 0
    complete: bool = False


class Player(Record, kind="player", version=3):
    """A player.

    A death or level-up triggers an immediate write. Gold, items in the bank, and fields that concern other players change in
    commits only. Other fields are durable within 30 s, the position within 60 s.
    """

    player_id: int = durable(default=0, ge=0)
    name: str = durable(default="", length_max=64)

    zone_id: Keyword = durable(default="nowhere", tier=CHECKPOINT)
    x: float = durable(default=0.0, tier=CHECKPOINT)
    y: float = durable(default=0.0, tier=CHECKPOINT)

    hp: int = durable(default=100, ge=0, immediate_when=drops_to(0))
    combat_until_us: int = durable(default=0, ge=0)  # wall time: leaving does not end a fight, nor does a crash
    deaths: int = durable(default=0, ge=0)
    xp: int = durable(default=0, ge=0, ranked="xp")
    lifetime_xp: int = durable(default=0, ge=0)
    level: int = durable(default=1, ge=1, immediate_when=rises)
    attack_level: int = durable(default=1, ge=1, immediate_when=rises)
    strength_level: int = durable(default=1, ge=1, immediate_when=rises)
    defense_level: int = durable(default=1, ge=1, immediate_when=rises)
    hitpoints_level: int = durable(default=10, ge=1, immediate_when=rises)

    inventory: list[Item] = durable(default_factory=list[Item], length_max=INVENTORY_SLOTS)
    equipment: dict[str, WornItem] = durable(default_factory=dict[str, WornItem])
    gold: int = durable(default=0, ge=0, le=GOLD_MAX, tier=IMMEDIATE)
    bank: list[StoredItem] = durable(default_factory=list[StoredItem], tier=IMMEDIATE)
    bank_gold: int = durable(default=0, ge=0, le=GOLD_MAX, tier=IMMEDIATE)
    parcels: list[StoredItem] = durable(
        default_factory=list[StoredItem], tier=IMMEDIATE
    )  # mail that found no free slot

    quest_progress: list[QuestProgress] = durable(default_factory=list[QuestProgress])
    achievements: list[Keyword] = durable(default_factory=list[str])
    friends: list[int] = durable(default_factory=list[int], tier=IMMEDIATE)
    blocked: list[int] = durable(default_factory=list[int], tier=IMMEDIATE)
    settings: dict[str, bool | int | float | str | None] = durable(
        default_factory=dict[str, bool | int | float | str | None], tier=IMMEDIATE
    )

    next_attack_s: float = ephemeral(default=0.0)
    walk_saved_tiles: float = ephemeral(default=2.0)  # two steps at once after a login, so that the first move works
    walked_s: float | None = ephemeral(default=None)

    @property
    def max_hp(self) -> int:
        """Full health: ten points for each hitpoints level."""
        return HP_PER_LEVEL * self.hitpoints_level

    @property
    def dead(self) -> bool:
        """Whether the player has fallen and not yet respawned."""
        return self.hp <= 0


@Player.conserved("gold")
def gold_of(player: Player) -> int:
    """All gold of a player."""
    return player.gold + player.bank_gold


@Player.serials
def serials_of(player: Player) -> Iterator[int | None]:
    """The serials of all items of a player; None for an item without."""
    for item in (*player.inventory, *player.equipment.values(), *player.bank, *player.parcels):
        yield item.serial


def level_of(xp: int) -> int:
    """The level of an amount of experience, from 1."""
    level = 1
    while level < LEVEL_MAX and xp >= XP_PER_LEVEL * level * (level + 1) // 2:
        level += 1
    return level
