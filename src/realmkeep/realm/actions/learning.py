"""Experience, levels and achievements."""

from typing import Final

from realmkeep.realm.world.player import Player, level_of

TAUGHT: Final = ("attack_level", "strength_level", "defense_level")  # in turn, one with each level
LEVEL_ACHIEVEMENTS: Final = {5: "level_5", 10: "level_10", 25: "level_25"}


def gain_xp(player: Player, xp: int) -> None:
    """Add experience, and the levels that it reaches; a trigger writes each level at once."""
    player.xp += xp
    player.lifetime_xp += xp
    while player.level < level_of(player.xp):
        player.level += 1
        player.hitpoints_level += 1
        taught = TAUGHT[player.level % len(TAUGHT)]
        setattr(player, taught, getattr(player, taught) + 1)
        if reached := LEVEL_ACHIEVEMENTS.get(player.level):
            achieve(player, reached)


def achieve(player: Player, achievement: str) -> None:
    """Unlock an achievement, once."""
    if achievement not in player.achievements:
        player.achievements = [*player.achievements, achievement]
