"""`realmkeep bench journal`: durable trades with a journal beside the same trades without one, in turns.

Two keepers share a store; each trades with players of its own. Between the rounds the journal is emptied, as its archiver does.
"""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median
from typing import Final

import msgspec

from realmkeep.benchmarks.live_players import HEARTBEAT_S, log_in, opened_keeper, populate, started_server
from realmkeep.benchmarks.trading import TIER1_RATE_PER_S, TradingPairs
from realmkeep.config import JournalConfig, KeeperConfig
from realmkeep.keeping.keeper import engine_of
from realmkeep.keys import server_journal
from realmkeep.storage import Delete, Transaction
from realmkeep.storage.embedded_config import Fsync

TRADERS: Final = 64
JOURNAL: Final = "bench-journal"


class JournalReport(msgspec.Struct, frozen=True):
    """The figures.

    Attributes:
        ratio: Trades a second with a journal, divided by those without: the median of the rounds.
        ratio_min: The lowest of the rounds.
        ratio_max: The highest of the rounds.
        trades_per_s_without: The median of the rounds.
        trades_per_s_with: The median of the rounds.
        entry_bytes: The mean size of an entry.
        rounds: The number of rounds.
        traders: The pairs that trade at once.
    """

    ratio: float
    ratio_min: float
    ratio_max: float
    trades_per_s_without: float
    trades_per_s_with: float
    entry_bytes: int
    rounds: int
    traders: int


def bench_journal(*, seconds: float, rounds: int, fsync: Fsync, directory: Path) -> JournalReport:
    """Measure.

    Args:
        seconds: The duration of each half of a round.
        rounds: At least 1.
        fsync: That of the store.
        directory: The directory of the store's files.

    Raises:
        StorageMisconfigured: There is no Valkey or Redis to start.
    """
    with started_server(directory, fsync) as server:
        return asyncio.run(_measure(server.url, seconds, rounds))


def _config(name: str) -> KeeperConfig:
    return KeeperConfig(
        name=name, tier1_rate_per_s=TIER1_RATE_PER_S, heartbeat_s=HEARTBEAT_S, lease_ttl_s=2 * HEARTBEAT_S
    )


async def _measure(url: str, seconds: float, rounds: int) -> JournalReport:
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(opened_keeper(url, _config(name), journal=journal))
            for name, journal in (("bench-plain", None), (JOURNAL, JournalConfig()))
        ]
        markets: list[tuple[TradingPairs, TradingPairs]] = []
        for number, (keeper, storage) in enumerate(opened):
            players = range(number * 2 * TRADERS, (number + 1) * 2 * TRADERS)
            await populate(storage, players)
            crowd = await log_in(keeper, players)
            # In turns each of a pair begins: the first seller gives away an item more if a round has an odd number of trades.
            markets.append((TradingPairs(keeper, crowd), TradingPairs(keeper, crowd[::-1])))
            keeper.gc.warmed_up()
        keeper, storage = opened[1]
        journal = engine_of(keeper).journal
        rates: list[list[float]] = [[], []]
        for turn in range(-1, rounds):  # the first one warms up
            for which in (0, 1) if turn % 2 else (1, 0):
                rate, _ = await markets[which][turn % 2].trade_for(TRADERS, seconds)
                if turn >= 0:
                    rates[which].append(rate)
            await storage.write([Transaction((), (Delete(server_journal(JOURNAL)),))])
            journal.archived_until(journal.appended_bytes)
        ratios = [with_ / without for without, with_ in zip(*rates, strict=True)]
        entries = engine_of(keeper).counters.commits
        return JournalReport(
            ratio=round(median(ratios), 3),
            ratio_min=round(min(ratios), 3),
            ratio_max=round(max(ratios), 3),
            trades_per_s_without=round(median(rates[0])),
            trades_per_s_with=round(median(rates[1])),
            entry_bytes=journal.appended_bytes // max(1, entries),
            rounds=rounds,
            traders=TRADERS,
        )
