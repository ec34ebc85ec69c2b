"""The intents of trades, and the commit that closes a trade."""

from typing import Any, Final

from realmkeep import Receipt
from realmkeep.realm.actions.action_rules import TRADED
from realmkeep.realm.actions.trading import Trade, swap
from realmkeep.realm.server.game import Game
from realmkeep.realm.server.intent_handler import UNDONE, IntentHandler, PendingIntent, check
from realmkeep.realm.server.outcomes import ActionUndecided, decided
from realmkeep.realm.wire.intents import TradeCancel, TradeConfirm, TradeOffer, TradeRequest
from realmkeep.realm.world.action_refused import ActionRefused
from realmkeep.realm.world.player import Player

TRADE_INTENTS: Final = (TradeRequest, TradeOffer, TradeConfirm, TradeCancel)


class TradeHandler:
    """Handles the trade intents of clients."""

    def __init__(self, game: Game, intents: IntentHandler) -> None:
        self._game = game
        self._intents = intents

    def begin_intent(self, pending: PendingIntent) -> None:
        """Handle a trade intent; a confirmation is answered when the trade has ended.

        Raises:
            BadInput: `bad_field`: a confirmation has no `op_id`.
        """
        player = pending.connection.player
        try:
            check(player, pending.intent)
            match pending.intent:
                case TradeRequest(player=other):
                    result = self._game.trades.request_trade(player, self._present(other), self._game.scene())
                case TradeOffer() as offer:
                    result = self._game.trades.change_offer(player, offer, self._game.scene())
                case TradeCancel():
                    result = self._game.trades.cancel_trade(player)
                case TradeConfirm(terms=terms):
                    self._confirm(pending, terms)
                    return
                case _:
                    raise TypeError(f"{pending.action} is no trade intent")
        except ActionRefused as refused:
            pending.nack(refused)
        else:
            self._intents.acknowledge(pending, result, tier=2, fields=())

    def _present(self, player: int | str) -> Player | None:
        connection = self._game.connections.find_player(player)
        return connection.player if connection is not None and connection.peer is not None else None

    def _confirm(self, pending: PendingIntent, terms: str) -> None:
        _ = pending.op  # raises if there is none
        if self._game.trades.repeats_confirmation(pending.connection.player, pending):
            return  # a repeated confirmation of an open trade: its end answers the latest request
        if self._intents.answer_if_applied(pending):
            return
        trade = self._game.trades.confirm_trade(pending.connection.player, terms, pending, self._game.scene())
        if trade is not None:
            self._game.spawn_task(
                self._close(trade), f"trade of {pending.connection.player.name}", failed=lambda: self._undecided(trade)
            )

    async def _close(self, trade: Trade) -> None:
        """Commit a trade that both players have confirmed, and answer both."""

        def answer_pending() -> None:
            for pending in _pending_sides(trade):
                pending.answer_pending()

        try:
            receipt = await decided(self._commit(trade), self._game.strangers_log, answer_pending)
        except ActionRefused as refused:
            self._off(trade, refused)
        except ActionUndecided:
            if any(
                self._intents.is_undone(pending) for pending in _pending_sides(trade)
            ):  # the commit is atomic: one undone side means both
                self._off(trade, UNDONE)
            else:
                self._undecided(trade)
        else:
            self._game.trades.complete_trade(trade)
            for pending in _pending_sides(trade):
                self._intents.acknowledge(pending, None, tier=1, fields=TRADED, repeated=receipt.repeated)

    def _off(self, trade: Trade, refused: ActionRefused) -> None:
        self._game.trades.end_trade(trade, refused.reason)
        for pending in _pending_sides(trade):
            pending.nack(refused)

    def _undecided(self, trade: Trade) -> None:
        self._game.trades.forget_trade(trade)
        for pending in _pending_sides(trade):
            self._intents.disconnect_undecided(pending)

    async def _commit(self, trade: Trade) -> Receipt[dict[str, Any]]:
        """Write both players in one commit; each operation belongs to its own player."""
        one, other = trade.sides
        first, second = (self._game.keeper.session(Player, side.player.player_id) for side in (one, other))
        if (
            first is None
            or second is None
            or not (isinstance(one.confirmed, PendingIntent) and isinstance(other.confirmed, PendingIntent))
        ):
            raise ActionRefused("not_here", "one of you has left the game")
        world = self._game.world

        def move(first: Player, second: Player) -> dict[str, Any]:
            return swap(first, second, trade, world)

        return await self._game.keeper.commit(move, first, second, ops=(one.confirmed.op, other.confirmed.op))


def _pending_sides(trade: Trade) -> list[PendingIntent]:
    return [side.confirmed for side in trade.sides if isinstance(side.confirmed, PendingIntent)]
