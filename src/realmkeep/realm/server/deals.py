"""Trades between the clients and the store."""

from typing import Any, Final

from realmkeep import Receipt, Tx
from realmkeep.realm.actions.table import TRADED
from realmkeep.realm.actions.trading import Trade, swap
from realmkeep.realm.server.game import Game
from realmkeep.realm.server.intents import UNDONE, Intents, Wish, check
from realmkeep.realm.server.outcomes import Undecided, decided
from realmkeep.realm.wire.intents import TradeCancel, TradeConfirm, TradeOffer, TradeRequest
from realmkeep.realm.world.player import Player
from realmkeep.realm.world.refused import Refused

TRADE_INTENTS: Final = (TradeRequest, TradeOffer, TradeConfirm, TradeCancel)


class Deals:
    """Does what clients want with trades."""

    def __init__(self, game: Game, intents: Intents) -> None:
        self._game = game
        self._intents = intents

    def begin(self, wish: Wish) -> None:
        """Do it; a confirmation is answered when the trade has ended.

        Raises:
            BadInput: `bad_field`: a confirmation has no `op_id`.
        """
        player = wish.seat.player
        try:
            check(player, wish.intent)
            match wish.intent:
                case TradeRequest(player=other):
                    result = self._game.trades.request(player, self._present(other), self._game.scene())
                case TradeOffer() as offer:
                    result = self._game.trades.offer(player, offer, self._game.scene())
                case TradeCancel():
                    result = self._game.trades.cancel(player)
                case TradeConfirm(terms=terms):
                    self._confirm(wish, terms)
                    return
                case _:
                    raise TypeError(f"{wish.action} is nothing about a trade")
        except Refused as refused:
            wish.nack(refused)
        else:
            self._intents.ack(wish, result, tier=2, fields=())

    def _present(self, player: int | str) -> Player | None:
        seat = self._game.seats.find(player)
        return seat.player if seat is not None and seat.peer is not None else None

    def _confirm(self, wish: Wish, terms: str) -> None:
        _ = wish.op  # raises if there is none
        if self._game.trades.confirms_again(wish.seat.player, wish):
            return  # sent again while the other one or the store thinks: one answer is enough, and the latest connection gets it
        if self._intents.was_applied(wish):
            return
        trade = self._game.trades.confirm(wish.seat.player, terms, wish, self._game.scene())
        if trade is not None:
            self._game.spawn(
                self._close(trade), f"trade of {wish.seat.player.name}", failed=lambda: self._undecided(trade)
            )

    async def _close(self, trade: Trade) -> None:
        """Both have agreed: from here on only the store decides."""

        def waits() -> None:
            for wish in _wishes(trade):
                wish.pending()

        try:
            receipt = await decided(self._commit(trade), self._game.strangers, waits)
        except Refused as refused:
            self._off(trade, refused)
        except Undecided:
            if any(self._intents.is_undone(wish) for wish in _wishes(trade)):  # atomic: undone for one, for both
                self._off(trade, UNDONE)
            else:
                self._undecided(trade)
        else:
            self._game.trades.completed(trade)
            for wish in _wishes(trade):
                self._intents.ack(wish, None, tier=1, fields=TRADED, repeated=receipt.repeated)

    def _off(self, trade: Trade, refused: Refused) -> None:
        self._game.trades.end(trade, refused.reason)
        for wish in _wishes(trade):
            wish.nack(refused)

    def _undecided(self, trade: Trade) -> None:
        self._game.trades.forget(trade)
        for wish in _wishes(trade):
            self._intents.part(wish)

    async def _commit(self, trade: Trade) -> Receipt[dict[str, Any]]:
        """One atomic write of both players; each operation belongs to its own player."""
        one, other = trade.sides
        first, second = (self._game.keeper.session(Player, side.player.player_id) for side in (one, other))
        if (
            first is None
            or second is None
            or not (isinstance(one.confirmed, Wish) and isinstance(other.confirmed, Wish))
        ):
            raise Refused("not_here", "one of you has left the game")
        world = self._game.world

        def move(tx: Tx, first: Player, second: Player) -> dict[str, Any]:
            return swap(tx, first, second, trade, world)

        return await self._game.keeper.commit(move, first, second, ops=(one.confirmed.op, other.confirmed.op))


def _wishes(trade: Trade) -> list[Wish]:
    return [side.confirmed for side in trade.sides if isinstance(side.confirmed, Wish)]
