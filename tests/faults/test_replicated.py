"""A primary with replicas, under load: killed, paused, moved; what was committed is there, whole."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import TypeVar

import pytest

from realmkeep import Keeper, KeeperConfig, Record, durable
from realmkeep.errors import StorageError, StorageMisconfigured, StorageUnavailable
from realmkeep.storage import Committed, Failed, Guard, Put, Storage, Transaction, Unknown, open_storage
from realmkeep.storage.replicated.confirming import Confirmer
from realmkeep.testing.replicated import LocalCluster, LocalSentinels, Node, free_ports, wait_until

pytestmark = pytest.mark.limit(180)

T = TypeVar("T")
REALMS = count(1)
WRITERS = 40
FAILOVER_MS = 1500
BULK = bytes(32 * 1024)
SOCKET_BYTES = 24 * 1024**2  # more than two sockets hold: what lies in them reaches the replica all the same
OPTIONS = "?timeout_s=2&connect_timeout_s=1"
PLAY_S_MAX = 60.0


class Load:
    """Writers that each count in two keys at once, and note the last number that was committed."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._tasks = [asyncio.create_task(self._count(number)) for number in range(WRITERS)]
        self.committed = dict.fromkeys(range(WRITERS), 0)
        self.unknown: list[StorageError] = []
        self.failed: list[StorageError] = []

    async def _count(self, writer: int) -> None:
        one, two = f"one:{writer}", f"two:{writer}"
        now = 0
        while True:
            before = b"%d" % now if now else None
            puts = (Put(one, b"%d" % (now + 1)), Put(f"bulk:{writer}", BULK), Put(two, b"%d" % (now + 1)))
            (outcome,) = await self._storage.write([Transaction((Guard(one, before), Guard(two, before)), puts)])
            if isinstance(outcome, Committed):
                now += 1
                self.committed[writer] = now
                continue
            if isinstance(outcome, (Unknown, Failed)):
                (self.unknown if isinstance(outcome, Unknown) else self.failed).append(outcome.error)
                await asyncio.sleep(0.02)
            now = await self._read(one)

    async def _read(self, key: str) -> int:
        while True:
            try:
                return int(await self._storage.load(key) or b"0")
            except StorageError:
                await asyncio.sleep(0.02)

    @property
    def total(self) -> int:
        return sum(self.committed.values())

    async def go_on(self, commits: int = 400) -> None:
        """Return when so many more were committed, some by each writer."""
        before = dict(self.committed)
        async with asyncio.timeout(PLAY_S_MAX):
            while self.total < sum(before.values()) + commits or any(
                self.committed[writer] == before[writer] for writer in before
            ):
                await asyncio.sleep(0.01)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)


async def lost_and_torn(url: str, committed: dict[int, int]) -> tuple[int, int]:
    """The commits that are missing, and the transactions of which half is missing."""
    storage = open_storage(url)
    await patiently(storage.connect)
    values = await storage.load_many([f"{which}:{writer}" for writer in committed for which in ("one", "two")])
    await storage.disconnect()
    pairs = [(int(one or b"0"), int(two or b"0")) for one, two in zip(values[::2], values[1::2], strict=True)]
    lost = sum(max(0, last - min(pair)) for pair, last in zip(pairs, committed.values(), strict=True))
    return lost, sum(one != two for one, two in pairs)


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Call until the store can be reached."""
    async with asyncio.timeout(PLAY_S_MAX):
        while True:
            try:
                return await call()
            except StorageUnavailable:
                await asyncio.sleep(0.05)


@asynccontextmanager
async def loaded(url: str) -> AsyncGenerator[Load]:
    storage = open_storage(url)
    await patiently(storage.connect)
    load = Load(storage)
    try:
        await load.go_on()
        yield load
    finally:
        await load.end()
        await storage.disconnect()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster(tmp_path_factory.mktemp("cluster"), node_timeout_ms=FAILOVER_MS) as cluster:
        yield cluster


@pytest.fixture
def realm(cluster: LocalCluster) -> Iterator[str]:
    yield f"realm-{next(REALMS)}"
    revive(cluster)


def revive(cluster: LocalCluster) -> None:
    """Start what was killed, and let go on what stands still."""
    for node in cluster.nodes:
        if not node.is_live:
            node.start()
        node.resume()
    cluster.wait_until_complete()


async def kill_behind_its_replica(cluster: LocalCluster, realm: str, *, bytes_behind: int) -> None:
    """The replica stands still until the primary has written so many bytes more, then the primary is killed."""
    primary, (replica,) = await asyncio.to_thread(cluster.shard, realm)
    replica.pause()
    before = await asyncio.to_thread(offset_of, primary)
    async with asyncio.timeout(PLAY_S_MAX):
        while await asyncio.to_thread(offset_of, primary) < before + bytes_behind:
            await asyncio.sleep(0.01)
    await asyncio.to_thread(primary.kill)
    replica.resume()


def offset_of(node: Node) -> int:
    return int(node.info("replication")["master_repl_offset"])


@pytest.mark.backend("redis-cluster")
async def test_a_primary_that_is_killed_behind_a_lagging_replica_takes_nothing_that_was_committed(
    cluster: LocalCluster, realm: str
) -> None:
    async with loaded(cluster.url(realm, OPTIONS)) as load:
        await kill_behind_its_replica(cluster, realm, bytes_behind=1)
        await asyncio.to_thread(cluster.wait_until_led, realm)
        committed = dict(load.committed)
        assert load.unknown
    await asyncio.to_thread(revive, cluster)
    assert await lost_and_torn(cluster.url(realm), committed) == (0, 0)


async def at_once(self: Confirmer, reign: int, *, wrote: bool) -> None:
    """Confirm without asking the replicas."""
    del self, reign, wrote


@pytest.mark.backend("redis-cluster")
async def test_control_without_a_confirmation_the_same_loses_commits(
    cluster: LocalCluster, realm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Confirmer, "confirm", at_once)
    async with loaded(cluster.url(realm, OPTIONS)) as load:
        await kill_behind_its_replica(cluster, realm, bytes_behind=SOCKET_BYTES)
        committed = dict(load.committed)
        await asyncio.to_thread(cluster.wait_until_led, realm)
    monkeypatch.undo()
    await asyncio.to_thread(revive, cluster)
    lost, torn = await lost_and_torn(cluster.url(realm), committed)
    assert lost > 0
    assert torn == 0


def another_primary(cluster: LocalCluster, realm: str) -> Node:
    primary, _ = cluster.shard(realm)
    return next(node for node in cluster.nodes if node.is_primary and node is not primary)


@pytest.mark.backend("redis-cluster")
@pytest.mark.parametrize("move", [LocalCluster.move, LocalCluster.move_by_keys])
async def test_a_realm_that_is_moved_under_load_loses_nothing_and_no_outcome_is_unknown(
    cluster: LocalCluster, realm: str, move: Callable[[LocalCluster, str, Node], None]
) -> None:
    async with loaded(cluster.url(realm, OPTIONS)) as load:
        for _ in range(2):
            target = await asyncio.to_thread(another_primary, cluster, realm)
            await asyncio.to_thread(move, cluster, realm, target)
            await load.go_on()
            assert (await asyncio.to_thread(cluster.shard, realm))[0] is target
        assert load.unknown == []
        committed = dict(load.committed)
    assert await lost_and_torn(cluster.url(realm), committed) == (0, 0)


def elsewhere(cluster: LocalCluster, realm: str) -> str:
    """A realm on another primary."""
    primary, _ = cluster.shard(realm)
    return next(name for number in count() if cluster.shard(name := f"{realm}-{number}")[0] is not primary)


@pytest.mark.backend("redis-cluster")
async def test_a_realm_goes_on_while_both_servers_of_another_one_are_gone(cluster: LocalCluster, realm: str) -> None:
    other = await asyncio.to_thread(elsewhere, cluster, realm)
    async with loaded(cluster.url(realm, OPTIONS)) as load, loaded(cluster.url(other, OPTIONS)) as unlucky:
        primary, (replica,) = await asyncio.to_thread(cluster.shard, other)
        for node in (replica, primary):
            await asyncio.to_thread(node.kill)
        async with asyncio.timeout(PLAY_S_MAX):
            while not unlucky.failed and not unlucky.unknown:
                await asyncio.sleep(0.01)
        await asyncio.sleep(2 * FAILOVER_MS / 1000)  # the others have noticed by then
        await load.go_on()
        assert (load.unknown, load.failed) == ([], [])
        await asyncio.to_thread(revive, cluster)
        await unlucky.go_on()
        committed = dict(unlucky.committed)
    assert await lost_and_torn(cluster.url(other), committed) == (0, 0)


@pytest.mark.backend("redis-cluster")
async def test_a_replica_that_is_gone_stops_commits_until_it_is_back(cluster: LocalCluster, realm: str) -> None:
    async with loaded(cluster.url(realm, OPTIONS)) as load:
        _, (replica,) = await asyncio.to_thread(cluster.shard, realm)
        await asyncio.to_thread(replica.kill)
        async with asyncio.timeout(PLAY_S_MAX):
            while not load.failed and not load.unknown:
                await asyncio.sleep(0.01)
        stopped_at = load.total
        await asyncio.to_thread(replica.start)
        await load.go_on()
        assert load.total > stopped_at
        committed = dict(load.committed)
    assert await lost_and_torn(cluster.url(realm), committed) == (0, 0)


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[LocalSentinels]:
    with LocalSentinels(tmp_path, down_after_ms=FAILOVER_MS) as sentinels:
        yield sentinels


@pytest.mark.backend("redis-sentinel")
async def test_a_primary_of_sentinels_is_killed_and_takes_nothing_that_was_committed(sentinels: LocalSentinels) -> None:
    primary, replica = sentinels.nodes
    async with loaded(sentinels.url(OPTIONS)) as load:
        await asyncio.to_thread(primary.kill)
        await asyncio.to_thread(wait_until, lambda: replica.is_primary, "the replica was not promoted")
        await asyncio.to_thread(primary.start)
        await asyncio.to_thread(primary.ask, "REPLICAOF", "127.0.0.1", replica.port)  # sentinels take their time
        await load.go_on()
        committed = dict(load.committed)
        assert await asyncio.to_thread(lambda: replica.is_primary)
    assert await lost_and_torn(sentinels.url(), committed) == (0, 0)


@pytest.mark.backend("redis-cluster")
async def test_a_primary_that_stood_still_and_comes_back_as_a_replica_takes_nothing_that_was_committed(
    cluster: LocalCluster, realm: str
) -> None:
    async with loaded(cluster.url(realm, OPTIONS)) as load:
        primary, _ = await asyncio.to_thread(cluster.shard, realm)
        before = await asyncio.to_thread(run_of, cluster, realm)
        await asyncio.to_thread(primary.pause)
        await asyncio.to_thread(wait_until, lambda: replaced(cluster, realm, primary), "no replica was promoted")
        await asyncio.to_thread(primary.resume)
        await load.go_on()
        committed = dict(load.committed)
        assert await asyncio.to_thread(run_of, cluster, realm) != before
    assert await lost_and_torn(cluster.url(realm), committed) == (0, 0)


def replaced(cluster: LocalCluster, realm: str, primary: Node) -> bool:
    return any(node.is_primary for node in cluster.replicas_of(primary))


def run_of(cluster: LocalCluster, realm: str) -> str:
    async def ask() -> str:
        storage = open_storage(cluster.url(realm))
        await patiently(storage.connect)
        try:
            return await storage.run_id()
        finally:
            await storage.disconnect()

    return asyncio.run(ask())


@pytest.fixture
def set_back(cluster: LocalCluster) -> Iterator[None]:
    yield
    for node in cluster.nodes:
        for name, value in (("cluster-replica-validity-factor", "10"), ("appendonly", "yes")):
            node.ask("CONFIG", "SET", name, value)
        wait_until(lambda node=node: node.info("persistence")["aof_rewrite_in_progress"] == "0", "a rewrite goes on")
    cluster.wait_until_complete()


@pytest.mark.backend("redis-cluster")
@pytest.mark.usefixtures("set_back")
@pytest.mark.parametrize("of_replica", [False, True])
@pytest.mark.parametrize(
    ("name", "value"),
    [("cluster-replica-validity-factor", "0"), ("cluster-replica-validity-factor", "11"), ("appendonly", "no")],
)
async def test_a_setting_that_breaks_the_promise_is_refused_on_each_server_of_the_shard(
    cluster: LocalCluster, realm: str, name: str, value: str, *, of_replica: bool
) -> None:
    primary, (replica,) = await asyncio.to_thread(cluster.shard, realm)
    node = replica if of_replica else primary
    assert await asyncio.to_thread(node.ask, "CONFIG", "SET", name, value) == b"OK"
    with pytest.raises(StorageMisconfigured, match=f"{name} is {value}") as refused:
        await patiently(open_storage(cluster.url(realm)).connect)
    assert ("the replica 127.0.0.1" in refused.value.message) is of_replica
    assert refused.value.hint.startswith("CONFIG SET ")


@pytest.mark.backend("redis-cluster")
async def test_what_is_no_cluster_and_no_single_server_is_told_with_the_right_url(
    cluster: LocalCluster, realm: str, tmp_path: Path
) -> None:
    port = cluster.nodes[0].port
    with pytest.raises(StorageMisconfigured, match="runs in cluster mode") as refused:
        await open_storage(f"redis://127.0.0.1:{port}/0").connect()
    assert f"redis-cluster://127.0.0.1:{port}/REALM" in refused.value.hint
    with pytest.raises(StorageMisconfigured, match="is no sentinel"):
        await open_storage(f"redis-sentinel://127.0.0.1:{port}/{realm}").connect()
    alone = await asyncio.to_thread(Node, tmp_path / "alone", await asyncio.to_thread(free_ports, 1))
    try:
        await asyncio.to_thread(alone.start)
        with pytest.raises(StorageMisconfigured, match="is no server of a cluster") as refused:
            await open_storage(f"redis-cluster://127.0.0.1:{alone.port}/{realm}").connect()
        assert "redis://" in refused.value.hint
    finally:
        await asyncio.to_thread(alone.close)


@pytest.mark.backend("redis-cluster")
async def test_a_primary_without_a_replica_is_refused_but_where_the_url_allows_it(
    cluster: LocalCluster, realm: str
) -> None:
    primary, (replica,) = await asyncio.to_thread(cluster.shard, realm)
    await asyncio.to_thread(replica.kill)
    await asyncio.to_thread(wait_until, lambda: primary.replicas_online == 0, "the replica is still online")
    try:
        with pytest.raises(StorageUnavailable, match="0 replicas online"):
            await open_storage(cluster.url(realm)).connect()
        await asyncio.to_thread(primary.ask, "CONFIG", "SET", "min-replicas-to-write", 0)
        storage = open_storage(cluster.url(realm, "?replicas_min=0"))
        await storage.connect()
        assert not storage.capability.survives_node_loss
        assert await storage.write([Transaction((), (Put("a", b"1"),))]) == [Committed()]
        await storage.disconnect()
    finally:
        await asyncio.to_thread(primary.ask, "CONFIG", "SET", "min-replicas-to-write", 1)


class Purse(Record, kind="pouch", version=1):
    gold: int = durable(default=0, ge=0)


def earn(purse: Purse) -> None:
    purse.gold += 1


@pytest.mark.backend("redis-cluster")
async def test_after_a_failover_every_server_writes_again_what_was_lost_before_players_get_in(
    cluster: LocalCluster, realm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replicas are not asked for, so the failover loses acknowledged commits, as that of two servers at once would."""
    monkeypatch.setattr(Confirmer, "confirm", at_once)
    url = cluster.url(realm, OPTIONS)
    async with (
        await Keeper.open(url, config=KeeperConfig(name="north", heartbeat_s=1.0, lease_ttl_s=20.0)) as north,
        await Keeper.open(url, config=KeeperConfig(name="south", heartbeat_s=1.0, lease_ttl_s=20.0)) as south,
    ):
        ada, bob = await north.login(Purse, 1, create=Purse), await north.login(Purse, 2, create=Purse)
        bulk = open_storage(url)
        await bulk.connect()
        async with loaded_by(bulk):
            primary, (replica,) = await asyncio.to_thread(cluster.shard, realm)
            replica.pause()
            before = await asyncio.to_thread(offset_of, primary)
            while await asyncio.to_thread(offset_of, primary) < before + SOCKET_BYTES:
                await asyncio.sleep(0.01)
            for session in (ada, bob):
                await north.commit(earn, session)
            await bob.logout()
            await asyncio.to_thread(primary.kill)
            replica.resume()
            await asyncio.to_thread(cluster.wait_until_led, realm)
        await bulk.disconnect()
        await asyncio.to_thread(revive, cluster)
        entered = await patiently(lambda: south.login(Purse, 2))
        assert entered is not None
        assert (entered.record.gold, ada.record.gold) == (1, 1)
        assert north.status().healed_records == 2
        await patiently(lambda: north.commit(earn, ada))
    storage = open_storage(url)
    await storage.connect()
    assert b'"gold":2' in (await storage.load("pouch:1") or b"")
    await storage.disconnect()


@asynccontextmanager
async def loaded_by(storage: Storage) -> AsyncGenerator[Load]:
    load = Load(storage)
    try:
        yield load
    finally:
        await load.end()


@pytest.mark.backend("redis-cluster")
async def test_a_replica_that_is_promoted_by_force_takes_nothing_that_was_committed(
    cluster: LocalCluster, realm: str
) -> None:
    async with loaded(cluster.url(realm, OPTIONS)) as load:
        _, (replica,) = await asyncio.to_thread(cluster.shard, realm)
        assert await asyncio.to_thread(replica.ask, "CLUSTER", "FAILOVER", "TAKEOVER") == b"OK"
        await asyncio.to_thread(wait_until, lambda: replica.is_primary, "it was not promoted")
        await load.go_on()
        committed = dict(load.committed)
    assert await lost_and_torn(cluster.url(realm), committed) == (0, 0)
