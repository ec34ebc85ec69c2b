"""Doing what clients want: tier 2 at once, tier 1 in a commit that is answered when it is durable."""

from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from realmkeep import Op, Receipt, Tx
from realmkeep.errors import OpReused, OpTooOld
from realmkeep.realm.actions.scene import Named
from realmkeep.realm.actions.table import NAMES_SOMEBODY, Rule, reports_of, rule_of
from realmkeep.realm.server.game import Game
from realmkeep.realm.server.outcomes import Undecided, decided, outcome, refusal
from realmkeep.realm.server.seats import Done, Seat
from realmkeep.realm.wire import intents
from realmkeep.realm.wire.bad_input import BadInput
from realmkeep.realm.wire.intents import Intent
from realmkeep.realm.wire.peer import Answer
from realmkeep.realm.world.inventory import check_seen
from realmkeep.realm.world.places import SERIALS_MAX, Place
from realmkeep.realm.world.player import Player
from realmkeep.realm.world.refused import Refused
from realmkeep.realm.world.state import state
from realmkeep.realm.world.zone import GroundItem, Zone

UNANSWERED_MAX: Final = 32
UNDONE: Final = Refused("refused", "it was undone with the ownership of a record; look at the state and try again")
ALLOWED_TO_THE_DEAD: Final = (intents.Look, intents.SetSetting, intents.TradeCancel)


@dataclass(frozen=True)
class Wish:
    """One intent on its way to its answer."""

    seat: Seat
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

    def nack(self, refused: Refused) -> None:
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

    def pending(self) -> None:
        """Answer that the store has not answered yet."""
        self.answer({"type": "pending", "op_id": self.op_id})


class Intents:
    """Does what the clients of one game want."""

    def __init__(self, game: Game) -> None:
        self._game = game

    def begin(self, wish: Wish) -> None:
        """Do it, or start doing it.

        Raises:
            BadInput: `bad_field`: it is tier 1 and has no `op_id`.
        """
        if wish.op_id is not None and self.was_applied(wish):
            return
        scene = self._game.scene()
        rule = rule_of(wish.seat.player, scene, wish.intent)
        if not rule.durable:
            self._at_once(wish, rule)
            return
        _ = wish.op  # raises if there is none
        if wish.seat.unanswered >= UNANSWERED_MAX:
            wish.nack(Refused("rate_limited", f"{UNANSWERED_MAX} operations are unanswered"))
            return
        wish.seat.unanswered += 1
        self._spawn(wish, self._keep(wish, rule), f"{wish.action} of {wish.seat.player.name}")

    def was_applied(self, wish: Wish) -> bool:
        """Answer an operation that was sent again, or whose id cannot be used; False if it is new.

        Raises:
            BadInput: `rate_limited`: too many of this player's repeats wait for the store already.
        """
        if self._was_done(wish):
            return True
        try:
            if wish.seat.session.recorded(wish.op) is None:
                return False
        except (OpTooOld, OpReused) as error:
            wish.nack(refusal(error, self._game.strangers))
            return True
        if wish.seat.repeats >= UNANSWERED_MAX:
            raise BadInput("rate_limited", f"{UNANSWERED_MAX} repeats are unanswered; wait", op_id=wish.op_id)
        wish.seat.repeats += 1
        self._spawn(wish, self._again(wish), f"{wish.action} of {wish.seat.player.name}, again")
        return True

    def _was_done(self, wish: Wish) -> bool:
        """The same as `was_applied`, for an operation of tier 2 that this server remembers."""
        done = wish.seat.done.get(wish.op.id)
        if done is None:
            return False
        if done.request == wish.op.request:
            self.ack(wish, done.added, tier=2, fields=reports_of(wish.intent), repeated=True)
        else:
            wish.nack(Refused("op_reused", f"operation {wish.op_id} was applied for another request"))
        return True

    def _spawn(self, wish: Wish, work: Coroutine[Any, Any, None], name: str) -> None:
        self._game.spawn(work, name, failed=lambda: self.part(wish))

    async def _again(self, wish: Wish) -> None:
        """The keeper has the result, and waits for its write if that is still under way."""
        try:
            repeated = self._game.keeper.commit(nothing, wish.seat.session, ops=(wish.op,))
            receipt = await decided(repeated, self._game.strangers, wish.pending)
        except Refused as refused:
            self._refuse(wish, refused)
        except Undecided:
            self._undecided(wish)
        else:
            recorded: dict[str, Any] | None = receipt.result
            self.ack(wish, recorded, tier=1, fields=reports_of(wish.intent), repeated=True)
        finally:
            wish.seat.repeats -= 1

    def ack(
        self, wish: Wish, result: dict[str, Any] | None, *, tier: int, fields: tuple[str, ...], repeated: bool = False
    ) -> None:
        """Answer that it is done: what the action adds, and the fields of the state that it may have changed."""
        changed = state(wish.seat.player, self._game.clock.wall_us(), fields)
        wish.answer(
            {
                "type": "ack",
                "op_id": wish.op_id,
                "action": wish.action,
                "tier": tier,
                "result": {**changed, **(result or {})},
                "repeated": repeated,
            }
        )

    def _at_once(self, wish: Wish, rule: Rule) -> None:
        game, player = self._game, wish.seat.player
        scene = game.scene()
        zone = player.zone_id
        try:
            check(player, wish.intent)
            result = rule.run(player, scene, wish.intent)
        except Refused as refused:
            wish.nack(refused)
            return
        if wish.op_id is not None and not isinstance(wish.intent, intents.Look):
            wish.seat.remember(wish.op_id, Done(wish.op.request, result))
        if player.zone_id != zone:
            game.trades.left(player, "left_zone")
        for place, item, x, y in scene.unique_loot:
            game.spawn(self._leave_unique(place, item, x, y), f"{item} falls in {place.name}")
        if player.level > wish.seat.level_told:
            self._spawn(wish, self._level_up(wish, rule, result), f"level-up of {player.name}")
        else:
            self.ack(wish, result, tier=2, fields=rule.reports)

    async def _level_up(self, wish: Wish, rule: Rule, result: dict[str, Any]) -> None:
        """The trigger has queued the write; the client hears of the level when it is durable."""
        try:
            await decided(wish.seat.session.settled(), self._game.strangers)
        except (Refused, Undecided) as ended:  # undone, with a commit that it followed
            if wish.op_id is not None:
                wish.seat.done.pop(wish.op_id, None)
            wish.nack(ended if isinstance(ended, Refused) else UNDONE)
            return
        self.ack(wish, result, tier=1, fields=rule.reports)
        self._game.announce_level(wish.seat)

    async def _keep(self, wish: Wish, rule: Rule) -> None:
        game, session = self._game, wish.seat.session
        place = game.places.of(session.record)
        try:
            receipt = await decided(self._commit(wish, rule, place), game.strangers, wish.pending)
        except Refused as refused:
            self._refuse(wish, refused)
        except Undecided:
            self._undecided(wish)
        else:
            if not receipt.repeated:
                self._landed(wish.intent, receipt.result, session.record)
            self.ack(wish, receipt.result, tier=1, fields=rule.reports, repeated=receipt.repeated)
            game.announce_level(wish.seat)
        finally:
            wish.seat.unanswered -= 1
            if rule.zone:
                place.show_kept()

    def is_undone(self, wish: Wish) -> bool:
        """Whether an operation whose answer was lost has not happened: a live session does not know it any more."""
        try:
            return not wish.seat.session.ended and wish.seat.session.recorded(wish.op) is None
        except (OpTooOld, OpReused):
            return False

    def part(self, wish: Wish) -> None:
        """Answer neither yes nor no: the client logs in again and asks the player's new owner, which knows."""
        peer = wish.seat.peer
        if peer is not None:
            peer.send({"type": "goodbye", "reason": "outcome_unknown"})
            peer.close()

    def _undecided(self, wish: Wish) -> None:
        if self.is_undone(wish):
            wish.nack(UNDONE)
        else:
            self.part(wish)

    def _refuse(self, wish: Wish, refused: Refused) -> None:
        """Say so; a client that goes on in spite of `rate_limited` is disconnected, as after any other flood."""
        wish.nack(refused)
        peer = wish.seat.peer
        if refused.reason == "rate_limited" and peer is not None and peer.errors.add(self._game.clock.monotonic_s()):
            peer.close()

    async def _commit(self, wish: Wish, rule: Rule, place: Place) -> Receipt[dict[str, Any]]:
        game, intent, session = self._game, wish.intent, wish.seat.session
        other = None
        if isinstance(intent, (intents.RemoveFriend, intents.Unblock)) and isinstance(intent.player, int):
            other = Named(intent.player, "")  # who is listed may be gone for good, and must not fill the list for ever
        elif isinstance(intent, NAMES_SOMEBODY):
            other = await game.find(intent.player)
            if other is None:
                raise Refused("no_such_player", f"there is no player {intent.player!r}")
            if isinstance(intent, intents.Mail) and session.recorded(wish.op) is None:
                await game.keeper.check_room(session, Player, other.player_id)
        if rule.zone:

            def with_zone(tx: Tx, player: Player, zone: Zone) -> dict[str, Any]:
                check(player, intent)
                if game.places.of(player) is not place:
                    raise Refused("busy", "you have gone to another zone meanwhile; try again")
                return rule.run(tx, player, zone, game.scene(other), intent)

            return await game.keeper.commit(with_zone, session, game.zone_of(place), ops=(wish.op, None))

        def alone(tx: Tx, player: Player) -> dict[str, Any]:
            check(player, intent)
            return rule.run(tx, player, game.scene(other), intent)

        return await game.keeper.commit(alone, session, ops=(wish.op,))

    def _landed(self, intent: Intent, result: Any, player: Player) -> None:
        """What is dropped lies on the ground once the inventory without it is durable: never in two places."""
        if isinstance(intent, intents.Drop) and "serial" not in result:
            decays_s = self._game.clock.monotonic_s() + self._game.world.rules.ground_decay_s
            place = self._game.places.of(player)
            place.lay(result["item"], result["count"], player.x, player.y, decays_s=decays_s)

    async def _leave_unique(self, place: Place, item: str, x: float, y: float) -> None:
        """An item with a serial falls, if there is room for it: it exists once the zone's record has it."""
        fallen = GroundItem(item, self._game.serials.take(), x, y)

        def lay(_: Tx, zone: Zone) -> None:
            if len(zone.ground) < SERIALS_MAX:
                zone.ground = [*zone.ground, fallen]

        await outcome(self._game.keeper.commit(lay, self._game.zone_of(place)))
        place.show_kept()


def nothing(tx: Tx, player: Player) -> None:
    """What a repeated operation runs: it is answered from the record of operations, so this never does."""


def check(player: Player, intent: Intent) -> None:
    """What holds for every action: the dead wait, and a slot holds what the client saw there.

    Raises:
        Refused: `dead` or `slot_changed`.
    """
    if player.dead and not isinstance(intent, ALLOWED_TO_THE_DEAD):
        raise Refused("dead", "wait until you stand again")
    if isinstance(intent, intents.Slotted) and intent.slot is not None:
        check_seen(player, intent.slot, intent.item or None, intent.serial or None)
