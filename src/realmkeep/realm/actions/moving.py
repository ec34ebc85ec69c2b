"""Walking."""

from typing import Any

from realmkeep.realm.actions.quests import entered
from realmkeep.realm.actions.scene import Scene
from realmkeep.realm.wire.intents import Move
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.content import distance
from realmkeep.realm.world.player import Player


def move(player: Player, scene: Scene, intent: Move) -> dict[str, Any]:
    """Walk to a point, no farther than the time since the last step allows.

    Up to `walk_burst_s` of unused time is saved: a network that bunches messages does not slow a player down, and bunching
    gains no distance.

    Raises:
        ActionRefused: `too_fast` or `out_of_bounds`.
    """
    rules = scene.world.rules
    rested_s = scene.now_s - player.walked_s if player.walked_s is not None else 0.0
    saved_tiles = min(
        rules.walk_tiles_per_s * rules.walk_burst_s, player.walk_saved_tiles + rested_s * rules.walk_tiles_per_s
    )
    player.walked_s, player.walk_saved_tiles = scene.now_s, saved_tiles
    tiles = distance(player.x, player.y, intent.x, intent.y)
    if tiles > saved_tiles:
        raise ActionRefused("too_fast", f"{tiles:.1f} tiles away; {saved_tiles:.1f} are possible by now")
    zone = scene.world.zone_at(intent.x, intent.y)
    if zone is None:
        raise ActionRefused("out_of_bounds", "the world ends there")
    player.walk_saved_tiles = saved_tiles - tiles
    if zone != player.zone_id:
        entered(player, scene, zone)
    scene.places.move_player(player, zone, intent.x, intent.y)
    return {}
