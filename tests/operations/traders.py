"""A game whose property never changes in sum, and a crowd that trades it all the time."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from realmkeep import IMMEDIATE, Keeper, KeeperConfig, Letter, Part, Record, durable
from realmkeep.clock import SystemClock
from realmkeep.operations.backup.census import Census, count_store
from realmkeep.operations.backup.game import Game
from realmkeep.operations.backup.holdings import Holdings, Tally
from realmkeep.records import DEFAULT_LIMITS
from realmkeep.storage import open_storage

TRADERS = 20
GOLD_EACH = 100
CLOCK = SystemClock()


class Sword(Part):
    serial: int


class Trader(Record, kind="trader", version=2):
    name: str = durable(default="")
    gold: int = durable(default=0, ge=0, tier=IMMEDIATE)
    swords: list[Sword] = durable(default_factory=list[Sword], tier=IMMEDIATE)


@Trader.migration(1)
def _(plain: dict[str, object]) -> dict[str, object]:
    return plain


class Parcel(Letter, kind="parcel", version=1):
    gold: int
    serial: int | None = None


def count(held: object, tally: Tally) -> None:
    if isinstance(held, Trader):
        tally.add("gold", held.gold)
        for sword in held.swords:
            tally.add_serial(sword.serial)
    elif isinstance(held, Parcel):
        tally.add("gold", held.gold)
        tally.add_serial(held.serial)


GAME_HOLDINGS = Holdings((Trader,), (Parcel,), count)
NO_HOLDINGS = Holdings((), (), count)
GAME = Game(GAME_HOLDINGS, DEFAULT_LIMITS, accept_unchecked=False)
ALL_SERIALS = frozenset(range(1, TRADERS + 1))


def trade(one: Trader, other: Trader) -> None:
    """A gold and a sword for each other: a backup of half a trade would have one too many or too few."""
    if one.gold:
        one.gold -= 1
        other.gold += 1
    if one.swords:
        other.swords.append(one.swords.pop())


@asynccontextmanager
async def trading(url: str, *, traders: int = TRADERS) -> AsyncGenerator[Keeper]:
    """A keeper on a store, with a crowd that trades until the block is over."""
    config = KeeperConfig(tier1_rate_per_s=10_000)
    async with Keeper.open(url, config=config, rescue_path=Path("/dev/null")) as keeper:
        sessions = [
            await keeper.login(
                Trader,
                number,
                create=lambda number=number: Trader(name=f"t{number}", gold=GOLD_EACH, swords=[Sword(serial=number)]),
            )
            for number in range(1, traders + 1)
        ]
        trades = 0

        async def go_on(first: int) -> None:
            nonlocal trades
            step = 1
            while True:
                one, other = sessions[first], sessions[(first + step) % len(sessions)]
                step = step % (len(sessions) - 1) + 1
                await keeper.commit(trade, one, other)
                trades += 1

        crowd = [asyncio.ensure_future(go_on(number)) for number in range(len(sessions))]
        try:
            while trades < traders:
                await asyncio.sleep(0)
            yield keeper
        finally:
            for each in crowd:
                each.cancel()
            for each in crowd:
                with suppress(asyncio.CancelledError):
                    await each


async def census_of(url: str, game: Game = GAME) -> Census:
    """The census of a store that no server uses."""
    storage = open_storage(url)
    await storage.connect()
    try:
        return await count_store(storage, game.holdings, limits=game.limits, accept_unchecked=game.accept_unchecked)
    finally:
        await storage.disconnect()


async def traders_of(url: str) -> dict[int, Trader]:
    """Every trader of a store, read by a new server."""
    async with Keeper.open(url, rescue_path=Path("/dev/null")) as keeper:
        found = {number: (await keeper.login(Trader, number)) for number in range(1, TRADERS + 1)}
        return {number: session.record for number, session in found.items() if session is not None}
