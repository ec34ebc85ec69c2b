"""Makes reads durable: in each run of the store, a connection writes and syncs before the first read."""

from typing import Final

from realmkeep.keys import SERVER_SYNCED
from realmkeep.storage.redis_capability import read_info
from realmkeep.storage.redis_connection import RedisConnection, ask

SYNCED_KEEP_MS: Final = 100 * 366 * 24 * 3600 * 1000  # a century; any expiry serves


class SyncOnNewRun:
    """Knows, for one storage object, whether a write has been answered in the current run of the store.

    A store that died between a write and its fsync may still have the write after its restart: it reads its file from the
    system's memory and syncs nothing. A power loss can still lose such data, until the file is synced the next time. So
    each connection asks for the store's run id, and the first one in a run begins with a write. The answer comes after the
    fsync of everything before it in the file. A connection does not outlive the store's process, so asking once is enough.

    Args:
        prefix: The store's prefix of every key.
    """

    def __init__(self, prefix: str = "") -> None:
        self._key = prefix + SERVER_SYNCED
        self._run = ""

    async def sync_before_reading(self, connection: RedisConnection) -> None:
        """Return when all data that this connection will read are as durable as the store's acknowledged writes.

        The write sets the expiry of a key, which a store accepts even if its memory is full. If INFO is forbidden, each
        connection writes.

        Raises:
            RedisError: The store refuses the write, or the connection broke.
        """
        run = (await read_info(connection, "server")).get("run_id", "")
        if run and run == self._run:
            return
        if not await ask(connection, "PEXPIRE", self._key, SYNCED_KEEP_MS):
            await ask(connection, "SET", self._key, b"1", "PX", SYNCED_KEEP_MS)
        self._run = run
