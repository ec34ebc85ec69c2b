"""Addresses and faults of primaries with replicas, and the pipe that follows a MOVED."""

import asyncio
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis.exceptions import MovedError

from realmkeep.clock import SystemClock
from realmkeep.errors import ConfigError, StorageError
from realmkeep.storage import open_storage
from realmkeep.storage.protocol import COMMITTED, Failed, Put, Transaction
from realmkeep.storage.redis_chunk import CHUNK_TRANSACTIONS_MAX
from realmkeep.storage.redis_pipe import Redirect, RedisPipe
from realmkeep.storage.redis_url import RedisAddress
from realmkeep.storage.replicated.address import parse_replicated_url
from realmkeep.storage.replicated.promises import replicated_faults, run_of
from unit.test_storage_redis_pipe import BATCH, CHUNKS, ScriptedConnection

SECRET = "gr4vel&tide"
ENCODED = "gr4vel%26tide"


def test_a_cluster_is_named_with_some_of_its_servers_and_the_realm() -> None:
    where = parse_replicated_url(urlsplit(f"redis-cluster://u:{ENCODED}@a:7001,b,[::1]:7003/north?timeout_s=2"))
    assert (where.kind, where.name, where.replicas_min) == ("cluster", "north", 1)
    assert where.seeds == (("a", 7001), ("b", 7001), ("::1", 7003))
    assert (where.login.username, where.login.password, where.login.timeout_s) == ("u", SECRET, 2.0)
    assert where.login.prefix == "{north}:"
    assert str(where) == "redis-cluster://a:7001,b:7001,[::1]:7003/north"
    node = where.node("10.0.0.7", 7000)
    assert (node.host, node.port, node.password, node.prefix) == ("10.0.0.7", 7000, SECRET, "{north}:")
    assert str(node) == "redis-cluster://10.0.0.7:7000/north"
    assert SECRET not in f"{where!r} {node!r}"


def test_the_slot_is_that_of_the_name_in_braces() -> None:
    slots = {name: parse_replicated_url(urlsplit(f"redis-cluster://a/{name}")).slot for name in ("123456789", "foo")}
    assert slots == {"123456789": 12739, "foo": 12182}  # of the specification of clusters, and CLUSTER KEYSLOT foo


def test_sentinels_are_named_with_their_primary_and_a_database(tmp_path: Path) -> None:
    secret = tmp_path / "s"
    secret.write_text("watch")
    secret.chmod(0o600)
    url = f"rediss-sentinel://:{ENCODED}@a,b:26380/main/2?prefix=north&tls_ca=/ca&replicas_min=2&sentinel_password_file={secret}"
    where = parse_replicated_url(urlsplit(url))
    assert (where.kind, where.name, where.replicas_min) == ("sentinel", "main", 2)
    assert where.seeds == (("a", 26379), ("b", 26380))
    assert (where.login.database, where.login.prefix, where.login.tls_ca) == (2, "north:", "/ca")
    assert str(where) == "rediss-sentinel://a:26379,b:26380/main/2?prefix=north"
    sentinel = where.sentinel("a", 26379)
    assert (sentinel.password, sentinel.tls, sentinel.tls_ca, sentinel.prefix) == ("watch", True, "/ca", "")


@pytest.mark.parametrize(
    "url",
    [
        f"redis-cluster://:{SECRET}@h:7001",
        f"redis-cluster://:{SECRET}@h/",
        f"redis-cluster://:{SECRET}@h/a:b",
        f"redis-cluster://:{SECRET}@h/north/1",
        f"redis-cluster://:{SECRET}@h,:99999/north",
        f"redis-cluster://:{SECRET}@h,,i/north",
        f"redis-cluster://:{SECRET}@h/north?prefix=x",
        f"redis-cluster://:{SECRET}@h/north?replicas_min=-1",
        f"redis-cluster://:{SECRET}@h/north?replicas_min=many",
        f"redis-cluster://:{SECRET}@h/north?readonly=1",
        f"redis-cluster://:{SECRET}@h/north?colour={SECRET}",
        f"redis-cluster://:{SECRET}@h/north?sentinel_password_file=/x",
        f"redis-sentinel://:{SECRET}@h",
        f"redis-sentinel://:{SECRET}@h/main/first",
    ],
)
def test_a_malformed_url_is_refused_without_repeating_its_secret(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_storage(url)
    assert SECRET not in f"{caught.value!s} {caught.value!r} {caught.value.__cause__!r}"
    assert caught.value.hint


def faults(**settings: str) -> dict[str, bool]:
    named = {name.replace("_", "-"): value for name, value in settings.items()}
    return {fault.name: fault.is_refused for fault in replicated_faults("cluster", named, replicas_min=1)}


def test_settings_that_break_the_promise_are_refused_and_those_that_weaken_it_told() -> None:
    assert faults(cluster_replica_validity_factor="10", appendonly="yes", min_replicas_to_write="1") == {}
    for factor in ("0", "11", "none"):
        assert faults(cluster_replica_validity_factor=factor) == {"stale-replicas-promoted": True}
    assert faults(appendonly="no") == {"append-only-off-with-replicas": True}
    assert faults(cluster_require_full_coverage="yes") == {"full-coverage": False}
    assert faults(min_replicas_to_write="0") == {"writes-without-replicas": False}
    assert [each.name for each in replicated_faults("sentinel", None, replicas_min=0)] == ["no-replica-needed"]


def test_a_promotion_changes_the_name_of_the_run() -> None:
    before = run_of({"run_id": "a", "master_replid": "1"})
    assert before not in {run_of({"run_id": "b", "master_replid": "1"}), run_of({"run_id": "a", "master_replid": "2"})}
    assert run_of({}) == ""  # a user that may not call INFO


MOVED = MovedError("12182 10.0.0.8:7002", status_code="MOVED")


def redirected(connection: ScriptedConnection, redirect: Redirect | None, broken: list[StorageError]) -> RedisPipe:
    return RedisPipe(
        connection,
        script="return nil",
        script_sha=b"sha",
        address=RedisAddress(host="h"),
        clock=SystemClock(),
        on_broken=broken.append,
        redirect=redirect,
    )


@pytest.mark.parametrize("executed", range(CHUNKS))
@pytest.mark.parametrize("turns", [0, 3, 9])
async def test_chunks_that_were_moved_are_sent_to_the_other_server_in_their_order(executed: int, turns: int) -> None:
    here = ScriptedConnection([None] * executed + [MOVED] * CHUNKS, turns=turns)
    there = ScriptedConnection(knows_script=False, turns=turns)
    followed: list[str] = []
    broken: list[StorageError] = []

    async def follow(moved: MovedError) -> ScriptedConnection:
        followed.append(str(moved))
        await asyncio.sleep(0)
        return there

    pipe = redirected(here, follow, broken)
    assert await pipe.write(BATCH) == [COMMITTED] * len(BATCH)
    assert [*here.executed, *there.executed] == [number * CHUNK_TRANSACTIONS_MAX for number in range(CHUNKS)]
    assert len(here.executed) == executed
    assert followed == [str(MOVED)]
    await pipe.close()
    assert broken == []


async def test_without_a_cluster_a_move_is_an_error() -> None:
    pipe = redirected(ScriptedConnection([MOVED]), None, [])
    (outcome,) = await pipe.write([Transaction((), (Put("k0", b"1"),))])
    assert isinstance(outcome, Failed)
    assert "redis-cluster://" in outcome.error.hint
    await pipe.close()


async def test_chunks_that_cannot_follow_a_move_have_failed() -> None:
    broken: list[StorageError] = []

    async def nowhere(moved: MovedError) -> ScriptedConnection:
        raise ConnectionRefusedError(str(moved))

    pipe = redirected(ScriptedConnection([MOVED] * CHUNKS), nowhere, broken)
    outcomes = await pipe.write(BATCH)
    assert all(isinstance(each, Failed) for each in outcomes)  # no server has executed any
    assert len(broken) == 1
    await pipe.close()


def test_the_database_of_a_cluster_is_the_first() -> None:
    where = parse_replicated_url(urlsplit("redis-cluster://a/north"))
    assert replace(where.login, prefix="").database == 0
