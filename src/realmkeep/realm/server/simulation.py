"""The simulation: monsters move and strike, items grow back and decay, fallen players respawn."""

from typing import Final

import structlog

from realmkeep.realm.actions.fighting import revive, strike
from realmkeep.realm.actions.scene import Scene
from realmkeep.realm.server.game import Game
from realmkeep.realm.server.outcomes import ActionUndecided, decided
from realmkeep.realm.server.player_connections import PlayerConnection
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.content import distance
from realmkeep.realm.world.places import Monster, Place
from realmkeep.realm.world.player import Player
from realmkeep.realm.world.state import state

TICKS_PER_S: Final = 20
STRIKE_INTERVAL_S: Final = 1.2
MONSTER_STEP_TILES: Final = 0.25  # five tiles a second: half a player's speed, so that players can flee
LEASH_TILES: Final = 12.0  # from home; beyond it a monster gives up
TICKS_PER_GLANCE: Final = (
    5  # an idle monster looks for prey four times a second: a search among many players costs time
)

NOT_KEPT: Final = "the server cannot save everything as promised now; new progress may be lost"
KEPT_AGAIN: Final = "the server saves everything as promised again"

log = structlog.get_logger("realm")


class Simulation:
    """Advances one game, a tick at a time."""

    def __init__(self, game: Game) -> None:
        self._game = game
        self._degraded = False

    def run_tick(self) -> None:
        """Run one tick."""
        scene = self._game.scene()
        for place in self._game.places.by_name.values():
            for monster in place.monsters.values():
                if monster.alive and place.present:
                    self._monster(monster, place, scene)
        self._game.ticks += 1
        if self._game.ticks % TICKS_PER_S == 0:
            self._second(scene)

    def _second(self, scene: Scene) -> None:
        """Run the parts that need one look a second."""
        for place in self._game.places.by_name.values():
            self._come_back(place, scene)
            for thing in [*place.ground.values()]:
                if thing.decays_s is not None and thing.decays_s <= scene.now_s:
                    place.remove_object(thing)
        for connection in self._game.connections:
            if connection.respawn_s is not None and connection.respawn_s <= scene.now_s:
                self._stand_up(connection, scene)
        self._game.trades.end_inactive(scene.now_s)
        self._warn()
        if self._game.serials.low and not self._game.refilling:
            self._game.spawn_task(self._game.refill_serials(), "refill of serials")

    def _monster(self, monster: Monster, place: Place, scene: Scene) -> None:
        if monster.target is not None:
            player = place.present.get(monster.target)
        else:
            player = self._prey(monster, place) if self._glances(monster) else None
        if player is None or player.dead or _far(monster, player):
            monster.target = None
            _step(monster, monster.home_x, monster.home_y)
            return
        monster.target = player.player_id
        if not scene.in_arm(player, monster.x, monster.y):
            _step(monster, player.x, player.y)
        elif monster.next_attack_s <= scene.now_s:
            monster.next_attack_s = scene.now_s + STRIKE_INTERVAL_S
            self.strike_player(monster, player, scene)

    def _glances(self, monster: Monster) -> bool:
        return (self._game.ticks + monster.monster_id) % TICKS_PER_GLANCE == 0

    def _prey(self, monster: Monster, place: Place) -> Player | None:
        reach = monster.kind.hunts_tiles
        if not reach:
            return None
        prey = [
            player
            for player in place.present.values()
            if not player.dead and distance(monster.x, monster.y, player.x, player.y) <= reach
        ]
        return min(prey, key=lambda player: distance(monster.x, monster.y, player.x, player.y), default=None)

    def strike_player(self, monster: Monster, player: Player, scene: Scene) -> None:
        """Let a monster strike a player, and tell the player's client."""
        damage = strike(monster, player, scene)
        connection = self._game.connections.by_id.get(player.player_id)
        if connection is None:
            return
        if damage:
            wounds = state(player, scene.wall_us, ("hp", "in_combat"))
            connection.send_event({"type": "event", "kind": "damaged", "by": monster.name, "damage": damage, **wounds})
        if player.dead:
            self._game.trades.player_left(player, "died")
            self._game.spawn_task(self._died(connection, monster.name), f"death of {player.name}")

    async def _died(self, connection: PlayerConnection, by: str) -> None:
        """Tell the client of a death once its write, queued by a trigger, is durable; then schedule the respawn.

        The client is not told of a death that was undone or cannot be saved. A player that is still dead respawns then, too.
        """
        try:
            await decided(connection.session.settled(), self._game.strangers_log)
        except (ActionRefused, ActionUndecided) as ended:
            log.warning("a death is not in the store", player=connection.player.player_id, error=str(ended))
        else:
            connection.send_event({"type": "event", "kind": "died", "by": by, "deaths": connection.player.deaths})
        connection.respawn_s = self._game.clock.monotonic_s() + self._game.world.rules.respawn_s

    def _stand_up(self, connection: PlayerConnection, scene: Scene) -> None:
        connection.respawn_s = None
        if not connection.player.dead:  # a login has revived the player meanwhile
            return
        revive(connection.player, scene)
        where = state(connection.player, scene.wall_us, ("zone", "x", "y", "hp", "max_hp", "in_combat", "deaths"))
        connection.send_event({"type": "event", "kind": "respawned", **where})

    def _come_back(self, place: Place, scene: Scene) -> None:
        due = [spot for spot, wall_us in place.record.respawns.items() if wall_us <= scene.wall_us]
        for spot in due:
            place.clear_respawn(spot)
            if (growing := place.growing.get(spot)) is not None:
                place.grow_at(spot, growing)
            for monster in place.monsters.values():
                if monster.spot == spot and not monster.alive:
                    monster.revive()

    def _warn(self) -> None:
        """Tell all clients when the game becomes degraded, and when it no longer is."""
        reasons = self._game.degraded  # not sent: they name the store, and are for the operator
        if bool(reasons) == self._degraded:
            return
        self._degraded = bool(reasons)
        detail = NOT_KEPT if self._degraded else KEPT_AGAIN
        for connection in self._game.connections:
            connection.send_event({"type": "event", "kind": "warning", "degraded": self._degraded, "detail": detail})


def _far(monster: Monster, player: Player) -> bool:
    return distance(monster.home_x, monster.home_y, player.x, player.y) > LEASH_TILES


def _step(monster: Monster, x: float, y: float) -> None:
    away = distance(monster.x, monster.y, x, y)
    if away <= MONSTER_STEP_TILES:
        monster.x, monster.y = x, y
    else:
        monster.x += (x - monster.x) * MONSTER_STEP_TILES / away
        monster.y += (y - monster.y) * MONSTER_STEP_TILES / away
