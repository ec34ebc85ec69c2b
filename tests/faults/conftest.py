from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from realmkeep.testing.servers import StoreServer
from realmkeep.testing.wire import FaultyWire


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StoreServer]:
    """The wheel's Valkey, as `realmkeep store config` configures it."""
    server = StoreServer(tmp_path)
    server.start()
    yield server
    server.close()


@pytest.fixture
async def wire(server: StoreServer) -> AsyncIterator[FaultyWire]:
    wire = FaultyWire(server.socket_path.with_name("w"), server.socket_path)
    await wire.start()
    yield wire
    await wire.stop()
