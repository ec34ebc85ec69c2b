"""The same work with redis-py's asyncio client, as a game without Realmkeep would do it."""

import json
from collections.abc import Sequence
from typing import Final

from redis.asyncio import BlockingConnectionPool, Redis, UnixDomainSocketConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from realmkeep.keys import RecordKeys
from realmkeep.testing.servers import StoreServer

PIPELINE_PLAYERS: Final = 1000  # a usual batch size with redis-py; smaller batches were slower

Saved = tuple[RecordKeys, bytes, Sequence[tuple[str, bytes]]]
"""A player to save: its keys, its record, and the other keys with their values."""


class RedisPyWays:
    """A pool of connections to a store, one for each caller.

    The bytes are ready: redis-py is not charged for encoding them, nor for deciding which players have changed.
    """

    def __init__(self, server: StoreServer, connections: int) -> None:
        self._pool = BlockingConnectionPool(
            connection_class=UnixDomainSocketConnection,
            path=str(server.socket_path),
            max_connections=connections,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            driver_info=None,
        )
        self._redis = Redis(connection_pool=self._pool)
        self._saves = 0

    async def close(self) -> None:
        """Close the connections."""
        await self._redis.aclose()
        await self._pool.disconnect()

    async def recipe(self, players: Sequence[Saved]) -> None:
        """Save as the specification does: SET of a temporary key and RENAME; SET for the other keys; in one pipeline."""
        pipeline = self._redis.pipeline(transaction=False)
        for keys, record, others in players:
            self._saves += 1
            temporary = f"temp:{keys.record}:{self._saves}"
            pipeline.set(temporary, record)
            pipeline.rename(temporary, keys.record)
            for key, value in others:
                pipeline.set(key, value)
        await pipeline.execute()

    async def multi(self, players: Sequence[Saved]) -> None:
        """Save all keys in one MULTI."""
        async with self._redis.pipeline(transaction=True) as pipeline:
            for keys, record, others in players:
                pipeline.set(keys.record, record)
                for key, value in others:
                    pipeline.set(key, value)
            await pipeline.execute()

    async def read(self, keys: RecordKeys) -> None:
        """GET and `json.loads`."""
        value = await self._redis.get(keys.record)
        assert value is not None, f"{keys.record} is not there"
        json.loads(value)
