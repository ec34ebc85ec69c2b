"""Pairs of live players that trade durably with each other, back and forth, through the public API."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final

from realmkeep.benchmarks.live_players import REQUEST
from realmkeep.clock import SystemClock
from realmkeep.keeping import Keeper, Op, Session
from realmkeep.testing.specification import SpecPlayer, SpecStack

TIER1_RATE_PER_S: Final = 10_000.0  # far above the measured rates, so that the rate limit does not matter

Pair = tuple[Session[SpecPlayer], Session[SpecPlayer]]


class TradingPairs:
    """Pairs of players; each pair makes its trades one after the other.

    A trade moves an item one way and coins the other. Each player has an operation and a full op ring, so one transaction
    holds two records, two revisions and two rings.

    Args:
        keeper: The keeper of the players.
        sessions: An even number of players; neighbours make a pair.
    """

    def __init__(self, keeper: Keeper, sessions: Sequence[Session[SpecPlayer]]) -> None:
        self._keeper = keeper
        self._clock = SystemClock()
        self._pairs: list[Pair] = list(zip(sessions[::2], sessions[1::2], strict=True))

    async def trade_for(self, concurrency: int, seconds: float) -> tuple[float, list[float]]:
        """Let the first `concurrency` pairs trade for `seconds`.

        Returns:
            The trades a second, and the seconds from call to answer of each.
        """
        now_s = self._clock.monotonic_s
        start_s = now_s()

        def until_the_end() -> Iterator[object]:
            while now_s() < start_s + seconds:
                yield None

        took_s: list[float] = []
        await asyncio.gather(*(self._trade(pair, until_the_end(), took_s) for pair in self._pairs[:concurrency]))
        return len(took_s) / (now_s() - start_s), took_s

    async def trade_times(self, concurrency: int, trades_each: int) -> None:
        """Let each of the first `concurrency` pairs make `trades_each` trades."""
        await asyncio.gather(*(self._trade(pair, range(trades_each), []) for pair in self._pairs[:concurrency]))

    async def _trade(self, pair: Pair, turns: Iterator[object] | range, took_s: list[float]) -> None:
        commit, now_s, note = self._keeper.commit, self._clock.monotonic_s, took_s.append
        seller, buyer = pair
        for _ in turns:
            start_s = now_s()
            op = Op(max(seller.last_op, buyer.last_op) + 1, REQUEST)
            await commit(trade, seller, buyer, ops=(op, op))
            note(now_s() - start_s)
            seller, buyer = buyer, seller


def trade(seller: SpecPlayer, buyer: SpecPlayer) -> dict[str, object]:
    """Move the seller's last item to the buyer, and a coin back."""
    item = seller.inventory.pop()
    buyer.inventory.append(item)
    seller.touch("inventory")
    buyer.touch("inventory")
    (mine,), (theirs,) = seller.bank, buyer.bank
    seller.bank = [SpecStack("coins", mine.count + 1)]
    buyer.bank = [SpecStack("coins", theirs.count - 1)]
    return {"ok": True, "item": item.item_id, "slot": item.slot}
