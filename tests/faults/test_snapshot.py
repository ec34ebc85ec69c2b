"""A snapshot on request: accepted once, and good enough while one is under way."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from realmkeep.storage import Put, Transaction, open_storage
from realmkeep.testing.servers import StoreServer

pytestmark = pytest.mark.backend("valkey")


@pytest.fixture
def slow_server(tmp_path: Path) -> Iterator[StoreServer]:
    """Its snapshots take a minute for a key."""
    with StoreServer(tmp_path, extra="rdb-key-save-delay 60000000\n") as server:
        yield server
        server.ask("BGSAVE", "CANCEL")  # a child that saves would outlive it


async def test_a_snapshot_asked_for_during_another_is_no_error(slow_server: StoreServer) -> None:
    storage = open_storage(slow_server.url)
    await storage.connect()
    await storage.write([Transaction((), (Put("a", b"1"),))])
    await storage.snapshot()
    await storage.snapshot()
    info = await asyncio.to_thread(slow_server.ask, "INFO", "persistence")
    assert isinstance(info, bytes)
    assert b"rdb_bgsave_in_progress:1" in info
    await storage.disconnect()
