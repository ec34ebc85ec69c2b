"""Doing what clients want: tier 2 at once, tier 1 in a commit that is answered when it is durable."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from realmkeep import Op, Receipt, Tx
from realmkeep.errors import OpReused, OpTooOld
from realmkeep.realm.actions.action_rules import NAMES_A_PLAYER, ActionRule, action_rule, reports_of
from realmkeep.realm.actions.scene import NamedPlayer
from realmkeep.realm.server.game import Game
from realmkeep.realm.server.outcomes import Undecided, decided, outcome, refusal
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
    """One intent on its way to its answer."""

    connection: PlayerConnection
    intent: Intent
    op_id: int | None
    answer: Answer

    @property
    def action(self) -> str:
        """The protocol's name of it."""
        return str(self.intent.__struct_config__.tag)

    @property
    def op(self) -> Op:
        """The operation for the keeper: the checked intent is the request, whatever padding came with it.

        Raises:
            BadInput: `bad_field`: the client gave it no id, and here and now it needs one.
        """
        if self.op_id is None:
            raise BadInput("bad_field", f"{self.action} is tier 1 here and needs an op_id")
        return Op(self.op_id, msgspec.json.encode(self.intent))

    def nack(self, refused: ActionRefused) -> None:
        """Answer that nothing changed, and why."""
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
        """Answer that the store has not answered yet."""
        self.answer({"type": "pending", "op_id": self.op_id})


class IntentHandler:
    """Does what the clients of one game want."""

    def __init__(self, game: Game) -> None:
        self._game = game

    def begin_intent(self, pending: PendingIntent) -> None:
        """Do it, or start doing it.

        Raises:
            BadInput: `bad_field`: it is tier 1 and has no `op_id`.
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
        """Answer an operation that was sent again, or whose id cannot be used; False if it is new.

        Raises:
            BadInput: `rate_limited`: too many of this player's repeats wait for the store already.
        """
        if self._was_done(pending):
            return True
        try:
            if pending.connection.session.recorded(pending.op) is None:
                return False
        except (OpTooOld, OpReused) as error:
            pending.nack(refusal(error, self._game.strangers))
            return True
        if pending.connection.repeats >= UNANSWERED_MAX:
            raise BadInput("rate_limited", f"{UNANSWERED_MAX} repeats are unanswered; wait", op_id=pending.op_id)
        pending.connection.repeats += 1
        self._spawn(pending, self._again(pending), f"{pending.action} of {pending.connection.player.name}, again")
        return True

    def _was_done(self, pending: PendingIntent) -> bool:
        """The same as `was_applied`, for an operation of tier 2 that this server remembers."""
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
        """The keeper has the result, and waits for its write if that is still under way."""
        try:
            repeated = self._game.keeper.commit(nothing, pending.connection.session, ops=(pending.op,))
            receipt = await decided(repeated, self._game.strangers, pending.answer_pending)
        except ActionRefused as refused:
            self._refuse(pending, refused)
        except Undecided:
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
        """Answer that it is done: what the action adds, and the fields of the state that it may have changed."""
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
        """The trigger has queued the write; the client hears of the level when it is durable."""
        try:
            await decided(pending.connection.session.settled(), self._game.strangers)
        except (ActionRefused, Undecided) as ended:  # undone, with a commit that it followed
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
            receipt = await decided(self._commit(pending, rule, place), game.strangers, pending.answer_pending)
        except ActionRefused as refused:
            self._refuse(pending, refused)
        except Undecided:
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
        """Whether an operation whose answer was lost has not happened: a live session does not know it any more."""
        try:
            return not pending.connection.session.ended and pending.connection.session.recorded(pending.op) is None
        except (OpTooOld, OpReused):
            return False

    def disconnect_undecided(self, pending: PendingIntent) -> None:
        """Answer neither yes nor no: the client logs in again and asks the player's new owner, which knows."""
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
        """Say so; a client that goes on in spite of `rate_limited` is disconnected, as after any other flood."""
        pending.nack(refused)
        peer = pending.connection.peer
        if refused.reason == "rate_limited" and peer is not None and peer.errors.add(self._game.clock.monotonic_s()):
            peer.close()

    async def _commit(self, pending: PendingIntent, rule: ActionRule, place: Place) -> Receipt[dict[str, Any]]:
        game, intent, session = self._game, pending.intent, pending.connection.session
        other = None
        if isinstance(intent, (intents.RemoveFriend, intents.Unblock)) and isinstance(intent.player, int):
            other = NamedPlayer(
                intent.player, ""
            )  # who is listed may be gone for good, and must not fill the list for ever
        elif isinstance(intent, NAMES_A_PLAYER):
            other = await game.look_up_player(intent.player)
            if other is None:
                raise ActionRefused("no_such_player", f"there is no player {intent.player!r}")
            if isinstance(intent, intents.Mail) and session.recorded(pending.op) is None:
                await game.keeper.check_room(session, Player, other.player_id)
        if rule.zone:

            def with_zone(tx: Tx, player: Player, zone: Zone) -> dict[str, Any]:
                check(player, intent)
                if game.places.place_of(player) is not place:
                    raise ActionRefused("busy", "you have gone to another zone meanwhile; try again")
                return rule.run(tx, player, zone, game.scene(other), intent)

            return await game.keeper.commit(with_zone, session, game.zone_of(place), ops=(pending.op, None))

        def alone(tx: Tx, player: Player) -> dict[str, Any]:
            check(player, intent)
            return rule.run(tx, player, game.scene(other), intent)

        return await game.keeper.commit(alone, session, ops=(pending.op,))

    def _landed(self, intent: Intent, result: Any, player: Player) -> None:
        """What is dropped lies on the ground once the inventory without it is durable: never in two places."""
        if isinstance(intent, intents.Drop) and "serial" not in result:
            decays_s = self._game.clock.monotonic_s() + self._game.world.rules.ground_decay_s
            place = self._game.places.place_of(player)
            place.lay_common(result["item"], result["count"], player.x, player.y, decays_s=decays_s)

    async def _leave_unique(self, place: Place, item: str, x: float, y: float) -> None:
        """An item with a serial falls, if there is room for it: it exists once the zone's record has it."""
        fallen = GroundItem(item, self._game.serials.take_serial(), x, y)

        def lay(_: Tx, zone: Zone) -> None:
            if len(zone.ground) < SERIALS_MAX:
                zone.ground = [*zone.ground, fallen]

        await outcome(self._game.keeper.commit(lay, self._game.zone_of(place)))
        place.sync_with_record()


def nothing(tx: Tx, player: Player) -> None:
    """What a repeated operation runs: it is answered from the record of operations, so this never does."""


def check(player: Player, intent: Intent) -> None:
    """What holds for every action: the dead wait, and a slot holds what the client saw there.

    Raises:
        ActionRefused: `dead` or `slot_changed`.
    """
    if player.dead and not isinstance(intent, ALLOWED_TO_THE_DEAD):
        raise ActionRefused("dead", "wait until you stand again")
    if isinstance(intent, intents.Slotted) and intent.slot is not None:
        check_seen(player, intent.slot, intent.item or None, intent.serial or None)
