"""The snapshot of an embedded store, through its socket; a store that does not run is started for it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult

from realmkeep.clock import Clock
from realmkeep.errors import StorageUnavailable
from realmkeep.storage.embedded import open_url
from realmkeep.storage.embedded_process import socket_path
from realmkeep.storage.redis_connection import BROKEN, make_connection
from realmkeep.storage.redis_snapshot import pin_address
from realmkeep.storage.redis_url import RedisAddress
from realmkeep.storage.snapshots import PinnedSnapshot

ANSWER_S_MAX: Final = 10.0


@asynccontextmanager
async def pin(url: SplitResult, _work: Path, clock: Clock) -> AsyncGenerator[PinnedSnapshot]:
    """Take and open the snapshot of an `embedded:///directory` store; see `pin_snapshot`.

    Raises:
        StorageError: There is no store, it does not start, or as `redis_snapshot.pin_address`.
    """
    storage = open_url(url, clock)
    address = RedisAddress(socket_path=str(socket_path(storage.directory)))
    is_started = False
    if not await _answers(address, clock):
        if not await asyncio.to_thread(storage.directory.exists):
            raise StorageUnavailable(f"there is no store in {storage.directory}", hint="name the directory of a store")
        await storage.connect()
        is_started = True
    try:
        async with pin_address(address, clock) as pinned:
            yield pinned
    finally:
        if is_started:
            await storage.disconnect()


async def _answers(address: RedisAddress, clock: Clock) -> bool:
    connection = make_connection(address)
    try:
        async with clock.timeout(ANSWER_S_MAX):
            await connection.connect()
    except (*BROKEN, TimeoutError):
        return False
    finally:
        await connection.disconnect(nowait=True)
    return True
