"""Trades between the clients and the store."""

from typing import Any, Final

import msgspec

from realmkeep import Op, Receipt, Tx
from realmkeep.errors import KeepingError, RecordError, StorageError
from realmkeep.realm.actions.table import TRADED
from realmkeep.realm.actions.trading import Confirmation, Trade, swap
from realmkeep.realm.server.game import Game
from realmkeep.realm.server.intents import Intents, Wish, check_alive
from realmkeep.realm.server.outcomes import outcome, refusal
from realmkeep.realm.wire.intents import TradeCancel, TradeConfirm, TradeOffer, TradeRequest
from realmkeep.realm.world.player import Player
from realmkeep.realm.world.refused import Refused

TRADE_INTENTS: Final = (TradeRequest, TradeOffer, TradeConfirm, TradeCancel)
REQUEST: Final = msgspec.json.encode(TradeConfirm())  # a confirmation says nothing but yes


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
            check_alive(player, wish.intent)
            match wish.intent:
                case TradeRequest(player=other):
                    result = self._game.trades.request(player, self._present(other), self._game.scene())
                case TradeOffer() as offer:
                    result = self._game.trades.offer(player, offer, self._game.scene())
                case TradeCancel():
                    result = self._game.trades.cancel(player)
                case _:
                    self._confirm(wish)
                    return
        except Refused as refused:
            wish.nack(refused)
        else:
            self._intents.ack(wish, result, tier=2, fields=())

    def _present(self, player: int | str) -> Player | None:
        seat = self._game.seats.find(player)
        return seat.player if seat is not None and seat.peer is not None else None

    def _confirm(self, wish: Wish) -> None:
        op = wish.op
        if self._intents.was_applied(wish):
            return
        if self._game.trades.confirmed_as(wish.seat.player) == wish.op_id:
            return  # sent again while the other one thinks: one answer is enough
        trade = self._game.trades.confirm(
            wish.seat.player,
            Confirmation(
                op.id,
                undone=wish.nack,
                done=lambda repeated: self._intents.ack(wish, None, tier=1, fields=TRADED, repeated=repeated),
                waits=wish.pending,
            ),
            self._game.scene(),
        )
        if trade is not None:
            self._game.spawn(self._close(trade), f"trade of {wish.seat.player.name}")

    async def _close(self, trade: Trade) -> None:
        """Both have agreed: from here on only the store decides."""
        confirmations = [side.confirmed for side in trade.sides if side.confirmed is not None]

        def waits() -> None:
            for confirmation in confirmations:
                confirmation.waits()

        refused: Refused | None = None
        repeated = False
        try:
            repeated = (await outcome(self._commit(trade), waits)).repeated
        except Refused as error:
            refused = error
        except (KeepingError, RecordError, StorageError) as error:
            refused = refusal(error)
        self._game.trades.closed(trade, refused)
        for confirmation in confirmations:
            if refused is None:
                confirmation.done(repeated)
            else:
                confirmation.undone(refused)

    async def _commit(self, trade: Trade) -> Receipt[dict[str, Any]]:
        """One atomic write of both players; each operation belongs to its own player."""
        one, other = trade.sides
        first, second = (self._game.keeper.session(Player, side.player.player_id) for side in (one, other))
        if first is None or second is None or one.confirmed is None or other.confirmed is None:
            raise Refused("not_here", "one of you has left the game")
        world = self._game.world

        def move(tx: Tx, first: Player, second: Player) -> dict[str, Any]:
            return swap(tx, first, second, trade, world)

        ops = (Op(one.confirmed.op_id, REQUEST), Op(other.confirmed.op_id, REQUEST))
        return await self._game.keeper.commit(move, first, second, ops=ops)
