"""A store that stands still: what the keeper says of it."""

import asyncio
import logging
from pathlib import Path

import pytest

from realmkeep.config import KeeperConfig
from realmkeep.drill.game import Hero
from realmkeep.keeping import Keeper
from realmkeep.testing.servers import StoreServer

pytestmark = pytest.mark.backend("valkey")

CONFIG = KeeperConfig(heartbeat_s=0.05, lease_ttl_s=0.2)


async def test_a_late_heartbeat_and_a_late_close_say_that_the_store_did_not_answer(
    server: StoreServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    keeper = await Keeper.open(f"{server.url}?timeout_s=0.3", config=CONFIG, rescue_path=tmp_path / "rescue.jsonl")
    await keeper.login(Hero, 1, create=Hero)
    await asyncio.to_thread(server.pause)
    async with asyncio.timeout(20):
        while not any("lease" in why for why in keeper.degraded):
            await asyncio.sleep(0.01)
    report = await keeper.close(deadline_s=0.1)
    await asyncio.to_thread(server.resume)
    assert report.rescued == ("sim-hero:1",)
    assert f"the lease of {keeper.name} was not renewed: no answer in time; it is tried again" in caplog.messages
    assert "not everything was saved: the deadline passed" in caplog.messages
