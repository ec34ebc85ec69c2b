"""A snapshot on request: accepted once, and good enough while one is under way."""

import asyncio
from pathlib import Path

import pytest

from realmkeep.storage import Put, Transaction, open_storage
from realmkeep.testing.servers import StoreServer

pytestmark = pytest.mark.backend("valkey")


async def test_a_snapshot_asked_for_during_another_is_no_error(tmp_path: Path) -> None:
    server = await asyncio.to_thread(StoreServer, tmp_path, extra="rdb-key-save-delay 60000000\n")  # a minute for a key
    await asyncio.to_thread(server.start)
    storage = open_storage(server.url)
    await storage.connect()
    await storage.write([Transaction((), (Put("a", b"1"),))])
    await storage.snapshot()
    await storage.snapshot()
    info = await asyncio.to_thread(server.ask, "INFO", "persistence")
    assert isinstance(info, bytes)
    assert b"rdb_bgsave_in_progress:1" in info
    await storage.disconnect()
    await asyncio.to_thread(server.close)
