"""`redis-cluster://`, `redis-sentinel://`: a realm on a primary with replicas."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import ClassVar, Final, TypeVar
from urllib.parse import SplitResult

from redis.exceptions import MovedError
from typing_extensions import override

from realmkeep.clock import Clock
from realmkeep.errors import OutcomeUnknown, StorageError, StorageUnavailable
from realmkeep.keys import SERVER_SYNCED
from realmkeep.storage.limits import check_key, check_value
from realmkeep.storage.protocol import AnyTransaction, Capability, Committed, Failed, Refused, Unknown, WriteOutcome
from realmkeep.storage.redis import RedisStorage
from realmkeep.storage.redis_connection import BROKEN, RedisConnection, RedisPool, Reply, ask, make_connection
from realmkeep.storage.redis_errors import reply_code, unwrapped
from realmkeep.storage.redis_pipe import Redirect
from realmkeep.storage.replicated.address import NodeAddress, ReplicatedAddress, parse_replicated_url
from realmkeep.storage.replicated.confirming import Confirmer
from realmkeep.storage.replicated.finding import finder_of
from realmkeep.storage.replicated.promises import read_replicated_capability, run_of

log = logging.getLogger(__name__)

BACKOFF_S_MAX: Final = 1.0  # a replica that takes the primary's place does so within seconds, and is used at once
REDIRECTS_MAX: Final = 5  # a slot that moves back and forth more often is a fault of the cluster
PRIMARY_S_MAX: Final = 1.0  # the answer of a server that has just answered with MOVED
T = TypeVar("T")


class ReplicatedStorage(RedisStorage):
    """A `Storage` on a primary with replicas, in a cluster or watched by sentinels.

    All keys of a realm lie in one slot of a cluster, so a transaction has one server, as with a single one. A write is
    committed, and a read returned, when all replicas that are online have everything that the primary had then. The loss of
    a primary takes nothing that was acknowledged, because the replica that takes its place has it.

    Args:
        where: The store.
        clock: The clock; by default the machine's.
        rng: The jitter of the backoff.
    """

    backoff_s_max: ClassVar[float] = BACKOFF_S_MAX

    def __init__(
        self, where: ReplicatedAddress, *, clock: Clock | None = None, rng: random.Random | None = None
    ) -> None:
        super().__init__(where.node(*where.seeds[0]), clock=clock, rng=rng)
        self._where = where
        self._node = where.node(*where.seeds[0])
        self._finder = finder_of(where, self._clock)
        self._following = asyncio.Lock()
        self._former_pools: list[RedisPool] = []
        self._calls: set[asyncio.Future[None]] = set()
        self._confirmer = Confirmer(
            self._clock,
            key=self._prefix + SERVER_SYNCED,
            replicas_min=where.replicas_min,
            follow=self._follow,
            on_broken=self._on_broken,
        )

    @override
    async def run_id(self) -> str:
        """The process of the primary and its line of replication; a failover and a move of the slot change it."""
        info = await self.info("server", "replication")
        if info.get("role", "master") != "master":
            raise self._demoted()
        return run_of(info)

    @override
    async def disconnect(self) -> None:
        """Wait until all accepted calls are answered and confirmed, then close."""
        if self._calls:
            await asyncio.wait(set(self._calls))
        try:
            await super().disconnect()
        finally:
            await self._confirmer.close()
            former, self._former_pools = self._former_pools, []
            for pool in former:
                await pool.close()

    @override
    async def write(self, transactions: Sequence[AnyTransaction]) -> list[WriteOutcome]:
        """Apply transactions in order; an outcome that the replicas do not confirm is unknown."""
        call: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._calls.add(call)
        reign = self._confirmer.reign
        try:
            return await self._confirmed_outcomes(await super().write(transactions), reign)
        finally:
            self._calls.discard(call)
            call.set_result(None)

    async def _confirmed_outcomes(self, outcomes: list[WriteOutcome], reign: int) -> list[WriteOutcome]:
        if any(isinstance(each, Failed) and _code(each.error) == "READONLY" for each in outcomes):
            self._demoted()
        if not any(isinstance(each, (Committed, Refused)) for each in outcomes):
            return outcomes
        try:
            await self._confirmer.confirm(reign, wrote=True)
        except StorageError as error:
            lost = OutcomeUnknown(
                f"the store executed it, and its replicas may not have it: {error.message}",
                hint="it happened wholly or not at all; read a guarded key before sending it again",
            )
            lost.__cause__ = error
            return [Unknown(lost) if isinstance(each, (Committed, Refused)) else each for each in outcomes]
        return outcomes

    @override
    async def flush(self) -> None:
        """As for a single server; then all replicas have everything."""
        reign = self._confirmer.reign
        await super().flush()
        await self._confirmer.confirm(reign, wrote=True)

    @override
    async def save(self, key: str, value: bytes) -> None:
        """Stage the value and rename it over `key`, unless a list lies there."""
        check_key(key)
        check_value(key, value)
        save = super().save
        await self._answered(lambda: save(key, value), changes=True)

    @override
    async def expiries(self, keys: Sequence[str]) -> list[float | None]:
        """Return the seconds after which each of `keys` vanishes."""
        expiries = super().expiries
        return await self._answered(lambda: expiries(keys), changes=False)

    @override
    async def keys(self, pattern: str = "*") -> AsyncIterator[str]:
        """Iterate over the keys that match, by SCAN, and again if the realm went to another server meanwhile."""
        seen: set[str] = set()
        while True:
            place = await self._settled_place()
            async for key in super().keys(pattern):
                if key not in seen:
                    seen.add(key)
                    yield key
            if await self._settled_place() == place:
                return

    async def _settled_place(self) -> str:
        """The server that has all keys of the realm: SCAN on another one finds none, and says nothing.

        Raises:
            StorageUnavailable: The slot is being moved key by key, so no server has all of them.
        """
        if self._where.kind == "sentinel":
            return await self.run_id()
        await self.exists(SERVER_SYNCED)  # answered with MOVED where the slot is not
        nodes: bytes = await super()._ask("CLUSTER", "NODES")
        (ours,) = (line for line in nodes.decode().splitlines() if "myself" in line.split(" ")[2])
        if any(f"[{self._where.slot}{arrow}" in ours for arrow in ("->-", "-<-")):
            raise StorageUnavailable(
                f"slot {self._where.slot} of the realm {self._where.name} is being moved key by key",
                hint="its keys can be listed when that is complete",
            )
        return await self.run_id()

    @override
    async def _ask(self, *command: str | bytes | int, changes: bool = False, subject: str = "") -> Reply:
        call = super()._ask
        return await self._answered(lambda: call(*command, changes=changes, subject=subject), changes=changes)

    async def _answered(self, call: Callable[[], Awaitable[T]], *, changes: bool) -> T:
        """Make a call that is answered once, where the realm is, and return when the replicas have what it was told."""
        reign = self._confirmer.reign

        async def attempt() -> T:
            nonlocal reign
            reign = self._confirmer.reign
            return await call()

        answer = await self._redirected(attempt)
        try:
            await self._confirmer.confirm(reign, wrote=changes)
        except StorageError as error:
            if changes:
                raise OutcomeUnknown(
                    f"the store executed it, and its replicas may not have it: {error.message}",
                    hint="read the key before trying again",
                ) from error
            raise StorageUnavailable(error.message, hint=error.hint) from error
        return answer

    async def _redirected(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call, and again where a MOVED names another server: the first one has not executed it."""
        for _ in range(REDIRECTS_MAX):
            try:
                return await call()
            except StorageError as error:
                moved = unwrapped(error.__cause__) if error.__cause__ else None
                if _code(error) == "READONLY":
                    self._demoted()
                if not isinstance(moved, MovedError):
                    raise
                await self._follow_safely(moved)
        raise StorageUnavailable(
            f"the servers of {self._where} send the realm to and fro", hint="CLUSTER NODES on each of them; try again"
        )

    async def _follow_safely(self, moved: MovedError) -> None:
        try:
            async with self._clock.timeout(self._node.connect_timeout_s):
                await self._follow(moved)
        except (*BROKEN, TimeoutError) as error:
            raise StorageUnavailable(
                f"the realm of {self._where} was moved to a server that cannot be reached: {moved}: {error}",
                hint="check that it runs; a running server tries again by itself",
            ) from error

    async def _follow(self, moved: MovedError) -> None:
        """Use the server that a MOVED names."""
        async with self._following:
            host, _, port = str(moved).rpartition(" ")[2].rpartition(":")
            address = self._where.node(host or self._node.host, int(port))
            if address != self._node:
                is_heir = await self._is_primary(
                    self._node
                )  # then the slot was moved; after a failover it is a replica
                await self._confirmer.use(address, is_heir=is_heir)
                self._use(address)
                log.info("the realm %s is on another server of its cluster: %s", self._where.name, address)

    async def _is_primary(self, address: NodeAddress) -> bool:
        connection = make_connection(address)
        try:
            async with self._clock.timeout(PRIMARY_S_MAX):
                await connection.connect()
                return (await ask(connection, "ROLE"))[0] == b"master"
        except (*BROKEN, TimeoutError):
            return False
        finally:
            await connection.disconnect(nowait=True)

    def _use(self, address: NodeAddress) -> None:
        if address != self._node:
            self._former_pools.append(self._pool)  # calls may be using it
            self._pool = RedisPool(address, self._sync.sync_before_reading)
            self._address = self._node = address

    def _demoted(self) -> StorageUnavailable:
        """Look for the primary anew: the server that was it is a replica now."""
        reason = StorageUnavailable(
            f"the store {self._node} is a replica now",
            hint="a failover is under way; a running server tries again by itself",
        )
        self._on_broken(reason)
        return reason

    @override
    def _redirection(self) -> Redirect | None:
        return self._redirect if self._where.kind == "cluster" else None

    async def _redirect(self, moved: MovedError) -> RedisConnection:
        await self._follow(moved)
        connection = make_connection(self._node)
        try:
            await connection.connect()
            await self._sync.sync_before_reading(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        return connection

    @override
    async def _before_opening(self) -> None:
        self._use(await self._finder.find())

    @override
    async def _before_writing(self, connection: RedisConnection) -> None:
        await self._confirmer.use(self._node)

    @override
    async def _read_capability(self, connection: RedisConnection) -> Capability:
        return await read_replicated_capability(connection, self._node, self._where, self._clock)


def _code(error: StorageError) -> str:
    return reply_code(error.__cause__) if error.__cause__ else ""


def open_url(url: SplitResult, clock: Clock) -> ReplicatedStorage:
    """Open a `redis-cluster://`, `rediss-cluster://`, `redis-sentinel://` or `rediss-sentinel://` URL.

    Raises:
        ConfigError: A part of the URL is missing, malformed or unknown.
    """
    return ReplicatedStorage(parse_replicated_url(url), clock=clock)
