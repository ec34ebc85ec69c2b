"""A shutdown while a real store stands still, and what becomes of its rescue file."""

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from realmkeep.config import KeeperConfig
from realmkeep.drill.game import Hero
from realmkeep.keeping import Keeper, restore_rescued
from realmkeep.storage import open_storage
from realmkeep.testing.servers import StoreServer

pytestmark = pytest.mark.backend("valkey")

HEROES = 60  # the trades are sent, in several batches, the releases are not


def gives(giver: Hero, taker: Hero) -> None:
    giver.gold -= 1
    taker.gold += 1


async def test_what_a_paused_store_was_not_told_is_restored(server: StoreServer, tmp_path: Path) -> None:
    rescue = tmp_path / "rescue.jsonl"
    keeper = await Keeper.open(f"{server.url}?timeout_s=5", config=KeeperConfig(name="town"), rescue_path=rescue)
    logins = [keeper.login(Hero, number, create=lambda: Hero(gold=100)) for number in range(HEROES)]
    heroes = await asyncio.gather(*logins)
    await asyncio.to_thread(server.pause)
    for giver, taker in pairwise(heroes):
        keeper._engine.commits.run(gives, [giver, taker], ())
    report = await keeper.close(deadline_s=0.2)
    await asyncio.to_thread(server.resume)
    assert len(report.rescued) == HEROES
    storage = open_storage(server.url)
    restored = await restore_rescued(storage, rescue)
    assert restored.clean, restored.left[:3]
    assert len(restored.restored) + len(restored.already_there) == HEROES
    again = await restore_rescued(storage, rescue)
    assert (again.restored, len(again.already_there), again.clean) == ((), HEROES, True)
    await storage.disconnect()
    async with await Keeper.open(server.url, config=KeeperConfig(name="north")) as north:
        back = await asyncio.gather(*[north.login(Hero, number) for number in range(HEROES)])
        gold = [session.record.gold for session in back if session is not None]
    assert gold == [99, *[100] * (HEROES - 2), 101]
