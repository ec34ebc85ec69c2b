"""What is read from a Redis or Valkey counts as durable because something was written and synced before it was read."""

from typing import Final

from realmkeep.keys import SERVER_SYNCED
from realmkeep.storage.redis_capability import read_info
from realmkeep.storage.redis_connection import RedisConnection, ask

SYNCED_KEEP_MS: Final = 100 * 366 * 24 * 3600 * 1000  # a century; any expiry would do


class RunSync:
    """What one storage object knows of the run of its store: whether a write in it has been answered.

    A store that died between a write and its fsync comes back with the write: it reads its file from the system's memory and
    syncs nothing. What is read from it then can still be lost with the power, until the file is synced the next time. So each
    connection asks which run of the store is at its other end, and the first one in a run begins with a write of its own, whose
    answer comes after the fsync of everything that stands before it in the file. A connection does not outlive the store's
    process, so it is asked once.
    """

    def __init__(self) -> None:
        self._run = ""

    async def begin(self, connection: RedisConnection) -> None:
        """Return when everything that this connection is going to read is as durable as what the store acknowledges.

        The write is one that a store accepts also when its memory is full: it sets the expiry of a key. Where INFO is
        forbidden, each connection writes.

        Raises:
            RedisError: The store refuses it, or the connection broke.
        """
        run = (await read_info(connection, "server")).get("run_id", "")
        if run and run == self._run:
            return
        if not await ask(connection, "PEXPIRE", SERVER_SYNCED, SYNCED_KEEP_MS):
            await ask(connection, "SET", SERVER_SYNCED, b"1", "PX", SYNCED_KEEP_MS)
        self._run = run
