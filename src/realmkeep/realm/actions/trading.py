"""Trades: two offers, two confirmations, one atomic write.

Offers live in memory and move nothing. Offered items stay with their player until both players have confirmed, and the commit
checks them again. A cancelled trade therefore has nothing to give back.
"""

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final, Protocol, TypeAlias

import msgspec

from realmkeep import Op
from realmkeep.realm.actions.scene import Scene
from realmkeep.realm.wire.intents import TradeOffer
from realmkeep.realm.wire.limits import TokenBucket
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.content import World
from realmkeep.realm.world.inventory import earn, give, in_slot, take, unpack_parcels
from realmkeep.realm.world.places import near
from realmkeep.realm.world.player import Item, Player
from realmkeep.realm.world.state import thing

INACTIVE_S: Final = 60.0
OFFERS_PER_S: Final = 5.0  # of one player: each offer goes to the other player too, perhaps over a slow line
OFFERS_BURST: Final = 20.0
ASK_AGAIN_S: Final = 1.0  # the asked player gets one `trade_requested` of the same player in this time
TERMS_BYTES: Final = 16
COMPLETED_KEPT: Final = 64  # more than happen between two frames of the live map

Tell: TypeAlias = Callable[[int, dict[str, Any]], None]
"""Sends an event to a player, if that player is connected."""


class Confirmation(Protocol):
    """A player's confirmation of a trade."""

    @property
    def op(self) -> Op:
        """The operation that confirms."""
        ...

    def nack(self, refused: ActionRefused) -> None:
        """Answer that the trade did not happen, and why."""
        ...


@dataclass
class TradeSide:
    """One player's part of a trade; `offered` holds the slots' contents at the time of the offer."""

    player: Player
    changes: TokenBucket
    offered: list[Item] = field(default_factory=list[Item])
    gold: int = 0
    confirmed: Confirmation | None = None

    def shown(self) -> dict[str, Any]:
        """The offer as both clients see it."""
        items = [thing(item) | {"slot": item.slot} for item in self.offered]
        return {"player": self.player.player_id, "items": items, "gold": self.gold}


@dataclass(eq=False)
class Trade:
    """An open trade.

    Attributes:
        number: Unique on this server; it makes the `terms` of two trades differ.
        touched_s: Monotonic time of the players' last action in the trade.
        closing: Both players have confirmed: from here on only the store decides.
    """

    number: int
    sides: tuple[TradeSide, TradeSide]
    touched_s: float
    closing: bool = False

    def offers_and_terms(self) -> dict[str, Any]:
        """Both present offers, and the `terms` that name exactly these."""
        offers = [side.shown() for side in self.sides]
        digest = hashlib.blake2b(msgspec.json.encode((self.number, offers)), digest_size=TERMS_BYTES)
        return {"offers": offers, "terms": digest.hexdigest()}

    def side(self, player: Player) -> TradeSide:
        """A player's own side."""
        return next(side for side in self.sides if side.player is player)

    def other(self, player: Player) -> TradeSide:
        """The other side."""
        return next(side for side in self.sides if side.player is not player)


class TradeBook:
    """All requests and open trades of one server.

    Args:
        tell: Sends an event to a player.

    Attributes:
        completed: The last trades that became durable: a number that rises, and both players.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._requests: dict[int, tuple[int, float]] = {}  # by asking player: the asked player, and the time
        self._told_s: dict[tuple[int, int], float] = {}  # by asking and asked player: time of the last event
        self._trades: dict[int, Trade] = {}
        self._numbers = count(1)
        self._done = count(1)
        self.completed = deque[tuple[int, int, int]](maxlen=COMPLETED_KEPT)

    def request_trade(self, player: Player, other: Player | None, scene: Scene) -> dict[str, Any]:
        """Ask a player for a trade; asking back opens the trade.

        Raises:
            ActionRefused: `not_here`, `too_far`, `in_combat`, `already_trading` or `blocked`.
        """
        if other is None or other is player or other.zone_id != player.zone_id or other.dead:
            raise ActionRefused("not_here", "that player is not in this zone")
        if not near(player.x, player.y, other.x, other.y, scene.world.rules.trade_tiles):
            raise ActionRefused("too_far", f"a trade takes {scene.world.rules.trade_tiles:g} tiles at most")
        if scene.in_combat(player) or scene.in_combat(other):
            raise ActionRefused("in_combat", "there is no trading in a fight")
        if player.player_id in self._trades or other.player_id in self._trades:
            raise ActionRefused("already_trading", "one of you is trading")
        if player.player_id in other.blocked or other.player_id in player.blocked:
            raise ActionRefused("blocked", "one of you has blocked the other")
        asked, asked_s = self._requests.get(other.player_id, (None, 0.0))
        if asked == player.player_id and scene.now_s - asked_s <= INACTIVE_S:
            self._open(player, other, scene.now_s)
            return {"opened": True, "player": other.player_id, "name": other.name}
        self._requests[player.player_id] = (other.player_id, scene.now_s)
        pair = (player.player_id, other.player_id)
        if scene.now_s - self._told_s.get(pair, float("-inf")) >= ASK_AGAIN_S:
            self._told_s[pair] = scene.now_s
            self._event(other, "trade_requested", player=player.player_id, name=player.name)
        return {"opened": False, "player": other.player_id, "name": other.name}

    def change_offer(self, player: Player, intent: TradeOffer, scene: Scene) -> dict[str, Any]:
        """Replace a player's offer; this revokes the confirmations of both players.

        Raises:
            ActionRefused: `not_trading`, `trade_closing`, `rate_limited`, `empty_slot`, `not_enough`, `same_slot_twice` or
                `not_enough_gold`.
        """
        trade = self._open_trade(player)
        side = trade.side(player)
        if not side.changes.take(scene.now_s):
            raise ActionRefused("rate_limited", "offers may not change so fast; wait a little")
        offered: list[Item] = []
        for part in intent.items or []:
            item = in_slot(player, part.slot)
            if part.count > item.count:
                raise ActionRefused("not_enough", f"slot {part.slot} has {item.count}")
            if any(item.slot == part.slot for item in offered):
                raise ActionRefused("same_slot_twice", f"slot {part.slot} is offered twice")
            offered.append(Item(item.item_id, part.count, item.slot, item.serial))
        if (intent.gold or 0) > player.gold:
            raise ActionRefused("not_enough_gold", f"there are {player.gold}")
        side.offered, side.gold = offered, intent.gold or 0
        trade.touched_s = scene.now_s
        standing = trade.offers_and_terms()
        for each in trade.sides:
            self._event(each.player, "trade_offer", player=player.player_id, **standing)
        self._unconfirm(trade, ActionRefused("offer_changed", "an offer changed after it had been confirmed"))
        return standing

    def confirm_trade(self, player: Player, terms: str, confirmation: Confirmation, scene: Scene) -> Trade | None:
        """Confirm the offers that `terms` names; returns the trade, now closing, once both players have confirmed.

        Raises:
            ActionRefused: `not_trading`, `trade_closing`, `offer_changed` (the offers are different by now) or
                `already_confirmed`.
        """
        trade = self._open_trade(player)
        if terms != trade.offers_and_terms()["terms"]:
            raise ActionRefused("offer_changed", "these are not the present offers; look at them again")
        if trade.side(player).confirmed is not None:
            raise ActionRefused("already_confirmed", "wait for the other player")
        trade.side(player).confirmed = confirmation
        trade.touched_s = scene.now_s
        for each in trade.sides:
            self._event(each.player, "trade_confirmed", player=player.player_id)
        if trade.other(player).confirmed is None:
            return None
        trade.closing = True
        return trade

    def repeats_confirmation(self, player: Player, confirmation: Confirmation) -> bool:
        """Whether this operation has already confirmed the player's trade; the answer goes to its latest request.

        Raises:
            ActionRefused: `op_reused`: the operation has confirmed other terms.
        """
        trade = self._trades.get(player.player_id)
        before = trade.side(player).confirmed if trade is not None else None
        if trade is None or before is None or before.op.id != confirmation.op.id:
            return False
        if before.op != confirmation.op:
            raise ActionRefused("op_reused", f"operation {before.op.id} confirms other terms")
        trade.side(player).confirmed = confirmation
        return True

    def cancel_trade(self, player: Player) -> dict[str, Any]:
        """Cancel a player's trade.

        Raises:
            ActionRefused: `not_trading` or `trade_closing`.
        """
        self._call_off(self._open_trade(player), "cancelled")
        return {}

    def player_left(self, player: Player, reason: str) -> None:
        """Note that a player has left the zone or the game: an open trade ends, a closing trade continues."""
        self._requests.pop(player.player_id, None)
        trade = self._trades.get(player.player_id)
        if trade is not None and not trade.closing:
            self._call_off(trade, reason)

    def complete_trade(self, trade: Trade) -> None:
        """Forget a durable trade and tell both players; the caller answers the confirmations."""
        self.forget_trade(trade)
        one, two = (side.player.player_id for side in trade.sides)
        self.completed.append((next(self._done), one, two))
        for side in trade.sides:
            other = trade.other(side.player)
            self._event(side.player, "trade_completed", player=other.player.player_id, received=other.shown())

    def end_trade(self, trade: Trade, reason: str) -> None:
        """Forget a cancelled trade and tell both players; the caller answers the confirmations."""
        self.forget_trade(trade)
        for side in trade.sides:
            self._event(side.player, "trade_cancelled", reason=reason)

    def forget_trade(self, trade: Trade) -> None:
        """Forget a trade, whether it happened or not."""
        for side in trade.sides:
            self._trades.pop(side.player.player_id, None)

    def end_inactive(self, now_s: float) -> None:
        """End trades and forget requests that have been inactive for a minute."""
        for trade in {id(trade): trade for trade in self._trades.values()}.values():
            if not trade.closing and now_s - trade.touched_s > INACTIVE_S:
                self._call_off(trade, "inactive")
        for player_id, (_, asked_s) in [*self._requests.items()]:
            if now_s - asked_s > INACTIVE_S:
                del self._requests[player_id]
        self._told_s = {pair: told_s for pair, told_s in self._told_s.items() if now_s - told_s < ASK_AGAIN_S}

    def _open(self, player: Player, other: Player, now_s: float) -> None:
        trade = Trade(next(self._numbers), (_side(player, now_s), _side(other, now_s)), now_s)
        standing = trade.offers_and_terms()
        for one, two in ((player, other), (other, player)):
            self._requests.pop(one.player_id, None)
            self._told_s.pop((one.player_id, two.player_id), None)
            self._trades[one.player_id] = trade
            self._event(one, "trade_opened", player=two.player_id, name=two.name, **standing)

    def _open_trade(self, player: Player) -> Trade:
        trade = self._trades.get(player.player_id)
        if trade is None:
            raise ActionRefused("not_trading", "there is no trade")
        if trade.closing:
            raise ActionRefused("trade_closing", "both have confirmed; the trade is being written")
        return trade

    def _unconfirm(self, trade: Trade, refused: ActionRefused) -> None:
        for side in trade.sides:
            if side.confirmed is not None:
                side.confirmed.nack(refused)
                side.confirmed = None

    def _call_off(self, trade: Trade, reason: str) -> None:
        self._unconfirm(trade, ActionRefused("trade_cancelled", f"the trade is off: {reason}"))
        self.end_trade(trade, reason)

    def _event(self, to: Player, kind: str, **fields: Any) -> None:
        self._tell(to.player_id, {"type": "event", "kind": kind, **fields})


def _side(player: Player, now_s: float) -> TradeSide:
    return TradeSide(player, TokenBucket(now_s, rate_per_s=OFFERS_PER_S, burst=OFFERS_BURST))


def swap(one: Player, other: Player, trade: Trade, world: World) -> dict[str, Any]:
    """Move both offers; runs in one commit of both players.

    Raises:
        ActionRefused: `offer_changed` if a slot or a purse no longer holds the offer; `inventory_full`, `stack_full` or
            `purse_full` if a player has no room for the other's offer.
    """
    taken = {player.player_id: _take_offer(player, trade.side(player)) for player in (one, other)}
    for giver, taker in ((one, other), (other, one)):
        earn(taker, trade.side(giver).gold)
        for item in taken[giver.player_id]:
            give(taker, world, item.item_id, item.count, item.serial)
        unpack_parcels(taker, world)
    return {"players": [one.player_id, other.player_id]}


def _take_offer(player: Player, side: TradeSide) -> list[Item]:
    for item in side.offered:
        held = next((held for held in player.inventory if held.slot == item.slot), None)
        if held is None or (held.item_id, held.serial) != (item.item_id, item.serial) or held.count < item.count:
            raise ActionRefused("offer_changed", f"slot {item.slot} no longer holds the offered items")
    if player.gold < side.gold:
        raise ActionRefused("offer_changed", "the offered gold has been spent")
    player.gold -= side.gold
    return [take(player, item.slot, item.count) for item in side.offered]
