"""The work whose instructions are counted: `python -m realmkeep.benchmarks.counted_work SOCKET`, under valgrind.

The work is marked, so that a tool can tell one part from the next: each mark calls `getsid`, a function of the C library that
nothing else here calls, and `callgrind --dump-before=getsid` writes its counts there. Start-up and logins are before the first
mark. Each part has a short and a long run; their difference is the cost of the units by which they differ, and of nothing else.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from typing import Final

from realmkeep.benchmarks.live_players import HEARTBEAT_S, log_in, opened_keeper
from realmkeep.benchmarks.trading import TIER1_RATE_PER_S, TradingPairs
from realmkeep.clock import SystemClock
from realmkeep.config import KeeperConfig
from realmkeep.keeping import Keeper, Session
from realmkeep.testing.specification import SpecPlayer

PAIRS: Final = 64
TRADES_EACH: Final = (4, 16)  # of a pair, in the short and in the long run
FLUSHED: Final = (128, 1024)  # players, the same
LOGINS_AT_ONCE: Final = 8  # more would wait for a connection for too long, at a fiftieth of the speed
TIMEOUT_S: Final = 60.0  # of the store's answers, for the same reason
FLUSH_INTERVAL_S: Final = 1.0
READING_S: Final = 10e-6  # the flusher reads the clock twice a player, and so saves 25 of them in a slice of 0.5 ms
POLL_S: Final = 0.02

# Nothing else happens meanwhile: a heartbeat or a sweep would be counted, too.
CONFIG: Final = KeeperConfig(
    name="counted",
    tier1_rate_per_s=TIER1_RATE_PER_S,
    flush_interval_s=FLUSH_INTERVAL_S,
    checkpoint_interval_s=600,
    sweep_interval_s=600,
    heartbeat_s=HEARTBEAT_S,
    lease_ttl_s=2 * HEARTBEAT_S,
)


class ReadingClock(SystemClock):
    """A clock whose monotonic time passes with each reading alone, so that a slice ends after the same work in every run.

    Timers keep the machine's time.
    """

    def __init__(self) -> None:
        self._now_s = super().monotonic_s()

    def monotonic_s(self) -> float:
        """Seconds from an arbitrary start; each reading takes `READING_S`."""
        self._now_s += READING_S
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now_s += seconds


def mark() -> None:
    """End one part of the work and begin the next."""
    os.getsid(0)


class CountedWork:
    """Trades and flushes of live players, a given number of times."""

    def __init__(self, keeper: Keeper, players: Sequence[Session[SpecPlayer]], clock: ReadingClock) -> None:
        self._players = players
        self._clock = clock
        self._market = TradingPairs(keeper, players[: 2 * PAIRS])

    async def trade(self, trades_each: int) -> None:
        """Make `PAIRS` times `trades_each` trades, `PAIRS` at a time."""
        await self._market.trade_times(PAIRS, trades_each)

    async def flush(self, count: int) -> None:
        """Change the first `count` players, and wait until they are saved."""
        changed = self._players[:count]
        for session in changed:
            session.record.xp += 1
        self._clock.advance(FLUSH_INTERVAL_S)
        while changed[-1].dirty:  # the last one is saved last
            await self._clock.sleep(POLL_S)
        assert not any(session.dirty for session in changed), "a player was left out"


def players_needed(flushed: Sequence[int]) -> range:
    """The numbers of the players that trade, or are flushed."""
    return range(max(2 * PAIRS, *flushed, 0))


async def do_counted_work(url: str, trades_each: Sequence[int], flushed: Sequence[int]) -> None:
    """Log the players in, trade and flush; with a mark before each part and one after the last.

    Args:
        url: A store with the players of `players_needed`.
        trades_each: The trades of each pair, for each part; the first is the warm-up, and unmarked.
        flushed: The numbers of players, the same.
    """
    clock = ReadingClock()
    async with opened_keeper(f"{url}?timeout_s={TIMEOUT_S}", CONFIG, clock) as (keeper, _):
        players = await log_in(keeper, players_needed(flushed), at_once=LOGINS_AT_ONCE)
        keeper.gc.warmed_up()
        work = CountedWork(keeper, players, clock)
        for do, amounts in ((work.trade, trades_each), (work.flush, flushed)):
            for amount in amounts:
                await do(amount)
                mark()


if __name__ == "__main__":
    asyncio.run(do_counted_work(sys.argv[1], (min(TRADES_EACH), *TRADES_EACH), (max(FLUSHED), *FLUSHED)))
