"""The intents of clients: tier 2 runs at once, tier 1 in a commit that is answered once it is durable."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from realmkeep import Op, Receipt
from realmkeep.errors import OpReused, OpTooOld
from realmkeep.realm.actions.action_rules import NAMES_A_PLAYER, ActionRule, action_rule, reports_of
from realmkeep.realm.actions.scene import NamedPlayer
from realmkeep.realm.server.game import Game
from realmkeep.realm.server.outcomes import ActionUndecided, decided, outcome, refusal
from realmkeep.realm.server.player_connections import AppliedOperation, PlayerConnection
from realmkeep.realm.wire import intents
from realmkeep.realm.wire.bad_input import BadInput
from realmkeep.realm.wire.intents import Intent
from realmkeep.realm.wire.peer import Answer
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.inventory import check_seen
from realmkeep.realm.world.places import SERIALS_MAX, Place
from realmkeep.realm.world.player import Player
from realmkeep.realm.world.state import state
from realmkeep.realm.world.zone import GroundItem, Zone

UNANSWERED_MAX: Final = 32
UNDONE: Final = ActionRefused(
    "refused", "it was undone with the ownership of a record; look at the state and try again"
)
ALLOWED_TO_THE_DEAD: Final = (intents.Look, intents.SetSetting, intents.TradeCancel)


@dataclass(frozen=True)
class PendingIntent:
    """An intent that has not been answered yet."""

    connection: PlayerConnection
    intent: Intent
    op_id: int | None
    answer: Answer

    @property
    def action(self) -> str:
        """The protocol's name of the action."""
        return str(self.intent.__struct_config__.tag)

    @property
    def op(self) -> Op:
        """The operation for the keeper; its request is the checked intent, so padding makes no difference.

        Raises:
            BadInput: `bad_field`: the intent has no `op_id`, and its rule needs one.
        """
        if self.op_id is None:
            raise BadInput("bad_field", f"{self.action} is tier 1 here and needs an op_id")
        return Op(self.op_id, msgspec.json.encode(self.intent))

    def nack(self, refused: ActionRefused) -> None:
        """Answer that nothing has changed, and why."""
        self.answer(
            {
                "type": "nack",
                "op_id": self.op_id,
                "action": self.action,
                "reason": refused.reason,
                "detail": refused.detail,
            }
        )

    def answer_pending(self) -> None:
        """Answer that the store has not confirmed the operation yet."""
        self.answer({"type": "pending", "op_id": self.op_id})


class IntentHandler:
    """Handles the intents of clients, except those of trades."""

    def __init__(self, game: Game) -> None:
        self._game = game

    def begin_intent(self, pending: PendingIntent) -> None:
        """Run an action of tier 2, or begin the commit of one of tier 1.

        Raises:
            BadInput: `bad_field`: the action is tier 1, and the intent has no `op_id`.
        """
        if pending.op_id is not None and self.answer_if_applied(pending):
            return
        scene = self._game.scene()
        rule = action_rule(pending.connection.player, scene, pending.intent)
        if not rule.durable:
            self._at_once(pending, rule)
            return
        _ = pending.op  # raises if there is none
        if pending.connection.unanswered >= UNANSWERED_MAX:
            pending.nack(ActionRefused("rate_limited", f"{UNANSWERED_MAX} operations are unanswered"))
            return
        pending.connection.unanswered += 1
        self._spawn(pending, self._keep(pending, rule), f"{pending.action} of {pending.connection.player.name}")

    def answer_if_applied(self, pending: PendingIntent) -> bool:
        """Answer a repeated operation, or one with an unusable id; returns False for a new operation.

        Raises:
            BadInput: `rate_limited`: too many of this player's repeated operations wait for the store.
        """
        if self._was_done(pending):
            return True
        try:
            if pending.connection.session.recorded(pending.op) is None:
                return False
        except (OpTooOld, OpReused) as error:
            pending.nack(refusal(error, self._game.strangers_log))
            return True
        if pending.connection.repeats >= UNANSWERED_MAX:
            raise BadInput("rate_limited", f"{UNANSWERED_MAX} repeats are unanswered; wait", op_id=pending.op_id)
        pending.connection.repeats += 1
        self._spawn(pending, self._again(pending), f"{pending.action} of {pending.connection.player.name}, again")
        return True

    def _was_done(self, pending: PendingIntent) -> bool:
        """As `answer_if_applied`, for the tier-2 operations that this server remembers."""
        done = pending.connection.done.get(pending.op.id)
        if done is None:
            return False
        if done.request == pending.op.request:
            self.acknowledge(pending, done.added, tier=2, fields=reports_of(pending.intent), repeated=True)
        else:
            pending.nack(ActionRefused("op_reused", f"operation {pending.op_id} was applied for another request"))
        return True

    def _spawn(self, pending: PendingIntent, work: Coroutine[Any, Any, None], name: str) -> None:
        self._game.spawn_task(work, name, failed=lambda: self.disconnect_undecided(pending))

    async def _again(self, pending: PendingIntent) -> None:
        """Answer a repeated operation with the keeper's result, once its first write is durable."""
        try:
            repeated = self._game.keeper.commit(nothing, pending.connection.session, ops=(pending.op,))
            receipt = await decided(repeated, self._game.strangers_log, pending.answer_pending)
        except ActionRefused as refused:
            self._refuse(pending, refused)
        except ActionUndecided:
            self._undecided(pending)
        else:
            recorded: dict[str, Any] | None = receipt.result
            self.acknowledge(pending, recorded, tier=1, fields=reports_of(pending.intent), repeated=True)
        finally:
            pending.connection.repeats -= 1

    def acknowledge(
        self,
        pending: PendingIntent,
        result: dict[str, Any] | None,
        *,
        tier: int,
        fields: tuple[str, ...],
        repeated: bool = False,
    ) -> None:
        """Answer with success: the result, and the fields of the state that the action may have changed."""
        changed = state(pending.connection.player, self._game.clock.wall_us(), fields)
        pending.answer(
            {
                "type": "ack",
                "op_id": pending.op_id,
                "action": pending.action,
                "tier": tier,
                "result": {**changed, **(result or {})},
                "repeated": repeated,
            }
        )

    def _at_once(self, pending: PendingIntent, rule: ActionRule) -> None:
        game, player = self._game, pending.connection.player
        scene = game.scene()
        zone = player.zone_id
        try:
            check(player, pending.intent)
            result = rule.run(player, scene, pending.intent)
        except ActionRefused as refused:
            pending.nack(refused)
            return
        if pending.op_id is not None and not isinstance(pending.intent, intents.Look):
            pending.connection.remember_operation(pending.op_id, AppliedOperation(pending.op.request, result))
        if player.zone_id != zone:
            game.trades.player_left(player, "left_zone")
        for place, item, x, y in scene.unique_loot:
            game.spawn_task(self._leave_unique(place, item, x, y), f"{item} falls in {place.name}")
        if player.level > pending.connection.level_told:
            self._spawn(pending, self._level_up(pending, rule, result), f"level-up of {player.name}")
        else:
            self.acknowledge(pending, result, tier=2, fields=rule.reports)

    async def _level_up(self, pending: PendingIntent, rule: ActionRule, result: dict[str, Any]) -> None:
        """Answer an action that raised the level; a trigger has queued the write, and the answer waits until it is durable."""
        try:
            await decided(pending.connection.session.settled(), self._game.strangers_log)
        # The store refused an earlier commit, which undid this change too.
        except (ActionRefused, ActionUndecided) as ended:
            if pending.op_id is not None:
                pending.connection.done.pop(pending.op_id, None)
            pending.nack(ended if isinstance(ended, ActionRefused) else UNDONE)
            return
        self.acknowledge(pending, result, tier=1, fields=rule.reports)
        self._game.announce_level(pending.connection)

    async def _keep(self, pending: PendingIntent, rule: ActionRule) -> None:
        game, session = self._game, pending.connection.session
        place = game.places.place_of(session.record)
        try:
            receipt = await decided(self._commit(pending, rule, place), game.strangers_log, pending.answer_pending)
        except ActionRefused as refused:
            self._refuse(pending, refused)
        except ActionUndecided:
            self._undecided(pending)
        else:
            if not receipt.repeated:
                self._landed(pending.intent, receipt.result, session.record)
            self.acknowledge(pending, receipt.result, tier=1, fields=rule.reports, repeated=receipt.repeated)
            game.announce_level(pending.connection)
        finally:
            pending.connection.unanswered -= 1
            if rule.zone:
                place.sync_with_record()

    def is_undone(self, pending: PendingIntent) -> bool:
        """Whether an undecided operation has not happened: its session is live and does not have it in its op ring."""
        try:
            return not pending.connection.session.ended and pending.connection.session.recorded(pending.op) is None
        except (OpTooOld, OpReused):
            return False

    def disconnect_undecided(self, pending: PendingIntent) -> None:
        """Disconnect a client with `outcome_unknown`: after its next login the player's owner can answer the operation."""
        peer = pending.connection.peer
        if peer is not None:
            peer.send({"type": "goodbye", "reason": "outcome_unknown"})
            peer.close()

    def _undecided(self, pending: PendingIntent) -> None:
        if self.is_undone(pending):
            pending.nack(UNDONE)
        else:
            self.disconnect_undecided(pending)

    def _refuse(self, pending: PendingIntent, refused: ActionRefused) -> None:
        """Answer a refusal; a client that keeps exceeding its rate limit is disconnected, as after other floods."""
        pending.nack(refused)
        peer = pending.connection.peer
        if refused.reason == "rate_limited" and peer is not None and peer.errors.add(self._game.clock.monotonic_s()):
            peer.close()

    async def _commit(self, pending: PendingIntent, rule: ActionRule, place: Place) -> Receipt[dict[str, Any]]:
        game, intent, session = self._game, pending.intent, pending.connection.session
        other = None
        if isinstance(intent, (intents.RemoveFriend, intents.Unblock)) and isinstance(intent.player, int):
            other = NamedPlayer(intent.player, "")  # without a look-up, so that a deleted player can leave the list
        elif isinstance(intent, NAMES_A_PLAYER):
            other = await game.look_up_player(intent.player)
            if other is None:
                raise ActionRefused("no_such_player", f"there is no player {intent.player!r}")
            if isinstance(intent, intents.Mail) and session.recorded(pending.op) is None:
                await game.keeper.letters.check_room(session, Player, other.player_id)
        if rule.zone:

            def with_zone(player: Player, zone: Zone) -> dict[str, Any]:
                check(player, intent)
                if game.places.place_of(player) is not place:
                    raise ActionRefused("busy", "you have gone to another zone meanwhile; try again")
                return rule.run(player, zone, game.scene(other), intent)

            with_zone.__qualname__ = rule.run.__qualname__  # its name in the journal
            return await game.keeper.commit(with_zone, session, game.zone_of(place), ops=(pending.op, None))

        def alone(player: Player) -> dict[str, Any]:
            check(player, intent)
            return rule.run(player, game.scene(other), intent)

        alone.__qualname__ = rule.run.__qualname__
        return await game.keeper.commit(alone, session, ops=(pending.op,))

    def _landed(self, intent: Intent, result: Any, player: Player) -> None:
        """Lay dropped items on the ground: only now, with the inventory durable, can they not be in two places."""
        if isinstance(intent, intents.Drop) and "serial" not in result:
            decays_s = self._game.clock.monotonic_s() + self._game.world.rules.ground_decay_s
            place = self._game.places.place_of(player)
            place.lay_common(result["item"], result["count"], player.x, player.y, decays_s=decays_s)

    async def _leave_unique(self, place: Place, item: str, x: float, y: float) -> None:
        """Add an item with a serial to the zone's record if there is room; it exists once that commit is durable."""
        fallen = GroundItem(item, self._game.serials.take_serial(), x, y)

        def lay(zone: Zone) -> None:
            if len(zone.ground) < SERIALS_MAX:
                zone.ground = [*zone.ground, fallen]
                self._game.keeper.tx.mint_serial(fallen.serial, "dropped by a monster")

        await outcome(self._game.keeper.commit(lay, self._game.zone_of(place)))
        place.sync_with_record()


def nothing(player: Player) -> None:
    """The commit function of a repeated operation; the keeper answers from the op ring and never runs it."""


def check(player: Player, intent: Intent) -> None:
    """Check the conditions of every action: the player is alive, and a slot holds the item that the client saw.

    Raises:
        ActionRefused: `dead` or `slot_changed`.
    """
    if player.dead and not isinstance(intent, ALLOWED_TO_THE_DEAD):
        raise ActionRefused("dead", "wait until you stand again")
    if isinstance(intent, intents.Slotted) and intent.slot is not None:
        check_seen(player, intent.slot, intent.item or None, intent.serial or None)
