"""Combat: blows, damage, deaths and loot. The server rolls all dice."""

from typing import Any, Final

from realmkeep.realm.actions.learning import achieve, gain_xp
from realmkeep.realm.actions.quests import killed
from realmkeep.realm.actions.scene import Scene
from realmkeep.realm.wire.intents import Attack
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.places import Monster, Place
from realmkeep.realm.world.player import Player, WornItem

HIT_CHANCE: Final = 0.8
BARE_HANDS: Final = 4


def attack(player: Player, scene: Scene, intent: Attack) -> dict[str, Any]:
    """Strike a monster once.

    Raises:
        ActionRefused: `no_such_target`, `out_of_range` or `too_soon`.
    """
    place = scene.place(player)
    monster = place.monsters.get(intent.target)
    if monster is None or not monster.alive:
        raise ActionRefused("no_such_target", f"there is no monster {intent.target} here")
    if not scene.in_arm(player, monster.x, monster.y):
        raise ActionRefused("out_of_range", f"{monster.name} is out of arm's length")
    if scene.now_s < player.next_attack_s:
        raise ActionRefused("too_soon", "still recovering from the last blow")
    player.next_attack_s = scene.now_s + scene.world.rules.attack_interval_s
    _fights(player, scene)
    monster.target = player.player_id
    hit = _blow(scene, BARE_HANDS + player.strength_level + _worn(player, scene, "attack"))
    monster.hp = max(0, monster.hp - hit)
    if not monster.alive:
        _slay(player, scene, place, monster)
    return {"hit": hit, "target": monster.monster_id, "target_hp": monster.hp, "killed": not monster.alive}


def strike(monster: Monster, player: Player, scene: Scene) -> int:
    """Let a monster strike a player; returns the damage. At 0 health the player is dead, and a trigger writes that at once."""
    _fights(player, scene)
    armour = _worn(player, scene, "defense") + player.defense_level // 2
    damage = max(0, _blow(scene, monster.kind.attack) - armour // 2)
    player.hp = max(0, player.hp - damage)
    if player.dead:
        player.deaths += 1
        player.combat_until_us = 0
        monster.target = None
    return damage


def revive(player: Player, scene: Scene) -> None:
    """Bring a fallen player back at the start, in full health."""
    player.hp = player.max_hp
    to_safety(player, scene)


def to_safety(player: Player, scene: Scene) -> None:
    """Put a player at the start, which is safe."""
    start = scene.world.start
    scene.places.move_player(player, start.zone, start.x, start.y)


def _slay(player: Player, scene: Scene, place: Place, monster: Monster) -> None:
    place.schedule_respawn(monster.spot, scene.wall_us + int(monster.kind.respawn_s * 1e6))
    achieve(player, "first_blood")
    killed(player, scene, monster.name)
    gain_xp(player, monster.kind.xp)
    for loot in monster.kind.loot:
        if scene.random.random() >= loot.chance:
            continue
        if scene.world.item(loot.item).stackable:
            decays_s = scene.now_s + scene.world.rules.ground_decay_s
            place.lay_common(loot.item, loot.count, monster.x, monster.y, decays_s=decays_s)
        else:
            scene.unique_loot.append((place, loot.item, monster.x, monster.y))


def _blow(scene: Scene, strength: int) -> int:
    return scene.random.randint(1, max(1, strength)) if scene.random.random() < HIT_CHANCE else 0


def _worn(player: Player, scene: Scene, what: str) -> int:
    worn: list[WornItem] = [*player.equipment.values()]
    return sum(getattr(scene.world.item(item.item_id), what) for item in worn)


def _fights(player: Player, scene: Scene) -> None:
    player.combat_until_us = scene.wall_us + int(scene.world.rules.combat_s * 1e6)
