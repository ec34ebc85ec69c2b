"""Finds the primary of a realm: in a cluster by its slot, with sentinels by the name that they watch."""

from collections import deque
from typing import Final, Protocol, cast

from realmkeep.clock import Clock
from realmkeep.errors import StorageError, StorageMisconfigured, StorageUnavailable
from realmkeep.storage.redis_connection import (
    BROKEN,
    RedisConnection,
    ask,
    make_connection,
    safe_cause,
    safe_storage_error,
)
from realmkeep.storage.redis_url import RedisAddress
from realmkeep.storage.replicated.address import NodeAddress, ReplicatedAddress

ASK_S_MAX: Final = 1.0  # a server that is gone must not hold up the question to the next one


class Finder(Protocol):
    """Finds the primary."""

    async def find(self) -> NodeAddress:
        """Return the address of the primary, as the first server says that answers; the next call begins at another one.

        Raises:
            StorageUnavailable: No server answers, or none knows a primary.
            StorageMisconfigured: A server answers, and is not of such a store.
        """
        ...


class _Asking:
    """Asks one server after the other, those that answered of late first."""

    def __init__(self, where: ReplicatedAddress, clock: Clock) -> None:
        self._where = where
        self._clock = clock
        self._servers = deque(where.seeds)

    def _address(self, host: str, port: int) -> NodeAddress:
        return self._where.node(host, port)

    async def _look(self, connection: RedisConnection, host: str) -> NodeAddress:
        raise NotImplementedError

    async def find(self) -> NodeAddress:
        """As `Finder.find`."""
        failure: StorageError | None = None
        for _ in range(len(self._servers)):
            host, port = self._servers[0]
            self._servers.rotate(-1)
            try:
                return await self._ask(self._address(host, port))
            except StorageMisconfigured:
                raise
            except StorageError as error:
                failure = failure or error
        raise StorageUnavailable(
            f"no server of {self._where} tells where its primary is: {failure and failure.message}",
            hint="check that they run, and that store.url names some of them; a running server tries again by itself",
        ) from failure

    async def _ask(self, address: RedisAddress) -> NodeAddress:
        connection = make_connection(address)
        try:
            async with self._clock.timeout(min(ASK_S_MAX, address.connect_timeout_s)):
                await connection.connect()
                return await self._look(connection, address.host)
        except (*BROKEN, TimeoutError) as error:
            raise safe_storage_error(error, address, sent=False) from safe_cause(error, address)
        finally:
            await connection.disconnect(nowait=True)


class ClusterFinder(_Asking):
    """Asks the servers of a cluster for the slot of the realm."""

    async def _look(self, connection: RedisConnection, host: str) -> NodeAddress:
        try:
            slots = cast("list[list[object]]", await ask(connection, "CLUSTER", "SLOTS"))
        except BROKEN as error:
            if "cluster support disabled" not in str(error):
                raise
            raise StorageMisconfigured(
                f"{host} is no server of a cluster",
                hint="use redis:// for a single server, redis-sentinel:// with sentinels",
            ) from error
        found: NodeAddress | None = None
        servers: dict[tuple[str, int], None] = {}
        for start, stop, *nodes in slots:
            for position, node in enumerate(cast("list[list[bytes | int | None]]", nodes)):
                place = (_text(node[0]) or host, cast("int", node[1]))
                servers[place] = None
                if position == 0 and cast("int", start) <= self._where.slot <= cast("int", stop):
                    found = self._where.node(*place)
        self._servers.extend(place for place in servers if place not in self._servers)
        if found is None:
            raise StorageUnavailable(
                f"no server of the cluster has slot {self._where.slot} of the realm {self._where.name}",
                hint="CLUSTER INFO on any of its servers; a running server tries again by itself",
            )
        return found


class SentinelFinder(_Asking):
    """Asks the sentinels for the primary that they watch."""

    def _address(self, host: str, port: int) -> NodeAddress:
        return self._where.sentinel(host, port)

    async def _look(self, connection: RedisConnection, host: str) -> NodeAddress:
        try:
            answer = await ask(connection, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._where.name)
        except BROKEN as error:
            if "unknown command" not in str(error).lower():
                raise
            raise StorageMisconfigured(
                f"{host} is no sentinel",
                hint="name the sentinels, whose usual port is 26379, not the servers themselves",
            ) from error
        if answer is None:
            raise StorageUnavailable(
                f"the sentinel at {host} watches no primary named {self._where.name}",
                hint="SENTINEL MASTERS lists them",
            )
        primary, port = cast("list[bytes]", answer)
        return self._where.node(primary.decode(), int(port))


def _text(value: bytes | int | None) -> str:
    return value.decode() if isinstance(value, bytes) else ""


def finder_of(where: ReplicatedAddress, clock: Clock) -> Finder:
    """Return the finder for a store."""
    return ClusterFinder(where, clock) if where.kind == "cluster" else SentinelFinder(where, clock)
