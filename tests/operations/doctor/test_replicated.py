"""Every finding about primaries with replicas, on a live cluster that has the one fault; and none on a healthy one."""

import asyncio
from collections.abc import Iterator

import pytest

from realmkeep.operations.doctor import Report, examine
from realmkeep.testing.replicated import LocalCluster, Node, wait_until

pytestmark = pytest.mark.backend("redis-cluster")
REALM = "north"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with LocalCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def shard(cluster: LocalCluster) -> Iterator[tuple[Node, Node]]:
    primary, (replica,) = cluster.shard(REALM)
    yield primary, replica
    if not replica.is_live:
        replica.start()
    for node in (primary, replica):
        for name, value in (
            ("appendonly", "yes"),
            ("cluster-replica-validity-factor", "10"),
            ("min-replicas-to-write", "1"),
        ):
            node.ask("CONFIG", "SET", name, value)
        node.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        wait_until(lambda node=node: node.info("persistence")["aof_rewrite_in_progress"] == "0", "a rewrite goes on")
    cluster.wait_until_complete()


async def look(cluster: LocalCluster, options: str = "") -> Report:
    return await examine(cluster.url(REALM, options))


def names(report: Report) -> set[str]:
    ours = {
        "append-only-off-with-replicas",
        "stale-replicas-promoted",
        "too-few-replicas",
        "full-coverage",
        "writes-without-replicas",
        "no-replica-needed",
    }
    assert all(finding.what and finding.why and finding.mend for finding in report.findings)
    assert all(not finding.settings for finding in report.findings)  # no server of a shard is changed alone
    return {finding.name for finding in report.findings} & ours


async def test_a_healthy_cluster_has_none_of_them_and_promises_more_than_one_server(
    cluster: LocalCluster, shard: tuple[Node, Node]
) -> None:
    report = await look(cluster)
    assert (names(report), report.outcome) == (set(), "examined")
    assert "survive the loss of any one machine" in report.promise or report.findings[0].promise


@pytest.mark.parametrize(
    ("settings", "of_replica", "name"),
    [
        (("appendonly", "no"), False, "append-only-off-with-replicas"),
        (("appendonly", "no"), True, "append-only-off-with-replicas"),
        (("cluster-replica-validity-factor", "0"), False, "stale-replicas-promoted"),
        (("cluster-replica-validity-factor", "11"), True, "stale-replicas-promoted"),
        (("cluster-require-full-coverage", "yes"), False, "full-coverage"),
        (("min-replicas-to-write", "0"), False, "writes-without-replicas"),
    ],
)
async def test_a_setting_of_the_primary_or_of_its_replica_is_found(
    cluster: LocalCluster, shard: tuple[Node, Node], settings: tuple[str, str], name: str, *, of_replica: bool
) -> None:
    assert await asyncio.to_thread(shard[of_replica].ask, "CONFIG", "SET", *settings) == b"OK"
    report = await look(cluster)
    assert names(report) == {name}


async def test_a_replica_that_is_gone_is_found_and_a_url_that_needs_none_too(
    cluster: LocalCluster, shard: tuple[Node, Node]
) -> None:
    primary, replica = shard
    await asyncio.to_thread(replica.kill)
    await asyncio.to_thread(wait_until, lambda: primary.replicas_online == 0, "the replica is still online")
    assert names(await look(cluster)) == {"too-few-replicas"}
    assert names(await look(cluster, "?replicas_min=0")) == {"no-replica-needed"}
