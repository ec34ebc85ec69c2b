"""The promises of a primary with replicas, and the settings that weaken or break them."""

import re
from collections.abc import Iterator, Mapping
from typing import Final, cast

import msgspec

from realmkeep.clock import Clock
from realmkeep.errors import StorageMisconfigured, StorageUnavailable
from realmkeep.storage.limits import whole_number
from realmkeep.storage.protocol import Capability
from realmkeep.storage.redis_capability import (
    INFO_SECTIONS,
    SETTINGS,
    capability_of,
    check_engine,
    read_info,
    read_settings,
)
from realmkeep.storage.redis_connection import BROKEN, RedisConnection, ask, make_connection
from realmkeep.storage.redis_faults import set_line, store_faults
from realmkeep.storage.replicated.address import Kind, NodeAddress, ReplicatedAddress
from realmkeep.storage.store_fault import StoreFault

LAG_S: Final = 10  # min-replicas-max-lag of a server that does not tell it: the engine's default
VALIDITY_MAX: Final = 10  # the engine's default; a higher factor promotes replicas with older data
REPLICA_S_MAX: Final = 1.0  # a replica that does not answer is not online, and is not examined
REPLICATED_SETTINGS: Final = (
    *SETTINGS,
    "min-replicas-to-write",
    "min-replicas-max-lag",
    "cluster-replica-validity-factor",
    "cluster-require-full-coverage",
)
_NUMBERED: Final = re.compile(r"slave\d+")
_PLACE: Final = re.compile(r"ip=([^,]*),port=(\d+),state=online")
REPLICA_SETTINGS: Final = ("appendonly", "cluster-replica-validity-factor")


def run_of(info: Mapping[str, str]) -> str:
    """Return the name of the reign of a primary: its process, and its line of replication, which a promotion begins anew."""
    run, line = info.get("run_id", ""), info.get("master_replid", "")
    return f"{run}.{line}" if run and line else ""


def replicated_faults(kind: Kind, settings: Mapping[str, str] | None, *, replicas_min: int) -> Iterator[StoreFault]:
    """Yield the faults of a primary with replicas beyond those of any server, refused ones first.

    Args:
        kind: `cluster` or `sentinel`.
        settings: The answer to CONFIG GET; None if the store forbids it.
        replicas_min: As in the URL.
    """
    known = settings or {}
    if known.get("appendonly") == "no":
        yield _without_file("the primary")
    yield from _validity(known.get("cluster-replica-validity-factor"), "the primary")
    if kind == "cluster" and known.get("cluster-require-full-coverage", "no") == "yes":
        coverage = ("cluster-require-full-coverage", "no")
        yield StoreFault(
            "full-coverage",
            "cluster-require-full-coverage is yes",
            "the loss of any other part of the cluster stops this realm, too",
            set_line(coverage),
            (coverage,),
        )
    if known.get("min-replicas-to-write") == "0":
        replicas = ("min-replicas-to-write", "1")
        yield StoreFault(
            "writes-without-replicas",
            "min-replicas-to-write is 0",
            "a primary that is cut off goes on accepting writes that it cannot keep; their outcome stays unknown until it is back",
            set_line(replicas),
            (replicas,),
        )
    if replicas_min == 0:
        yield StoreFault(
            "no-replica-needed",
            "replicas_min=0 in store.url",
            "while no replica is online, the loss of the primary loses what it acknowledged",
            "remove it from store.url, and give the primary a replica",
        )


def _without_file(server: str) -> StoreFault:
    on = ("appendonly", "yes")
    return StoreFault(
        "append-only-off-with-replicas",
        f"appendonly is no on {server}",
        "when it restarts empty, its replicas copy that and are empty, too",
        set_line(on),
        (on,),
        is_refused=True,
    )


def _validity(factor: str | None, server: str) -> Iterator[StoreFault]:
    if factor is None or 0 < (whole_number(factor.encode()) or 0) <= VALIDITY_MAX:
        return
    right = ("cluster-replica-validity-factor", str(VALIDITY_MAX))
    yield StoreFault(
        "stale-replicas-promoted",
        f"cluster-replica-validity-factor is {factor} on {server}",
        "a replica with old data may take the primary's place",
        set_line(right),
        (right,),
        is_refused=True,
    )


async def read_replicated_capability(
    connection: RedisConnection, address: NodeAddress, where: ReplicatedAddress, clock: Clock
) -> Capability:
    """Return the promises of a primary and its replicas, as they are configured now.

    Args:
        connection: To the primary, and without other users.
        address: Its address, for errors.
        where: The store.
        clock: The clock.

    Raises:
        StorageMisconfigured: They cannot keep Realmkeep's promises.
        StorageUnavailable: The server is no primary, or too few of its replicas are online.
        RedisError: The connection broke, or the server is not ready.
    """
    info = await read_info(connection, *INFO_SECTIONS)
    settings = await read_settings(connection, *REPLICATED_SETTINGS)
    engine = check_engine(info, str(address))
    _check_mode(info, address, where)
    await _check_replicas(connection, address, where)
    faults = [
        *store_faults(settings, info),
        *replicated_faults(where.kind, settings, replicas_min=where.replicas_min),
        *await faults_of_replicas(info, where, clock),
    ]
    for fault in faults:
        if fault.is_refused:
            raise StorageMisconfigured(f"the store {address} has {fault}", hint=fault.mend)
    return replicated_capability(capability_of(engine, settings, info), where, settings or {}, faults)


def replicated_capability(
    alone: Capability, where: ReplicatedAddress, settings: Mapping[str, str], faults: list[StoreFault]
) -> Capability:
    """Return the promises of a primary with replicas.

    Args:
        alone: The promises of the primary by itself.
        where: The store.
        settings: The answer to CONFIG GET; empty if the store forbids it.
        faults: Its faults without refused ones.
    """
    lag_s = whole_number(settings.get("min-replicas-max-lag", "").encode()) or LAG_S
    window_s = None if alone.loss_window_s is None else max(alone.loss_window_s, lag_s + 1.0)
    is_safe = alone.durable_on_return and where.replicas_min > 0
    return msgspec.structs.replace(
        alone,
        backend=f"redis-{where.kind}",
        durable_on_return=is_safe,
        survives_power_loss=is_safe,
        survives_node_loss=is_safe,
        loss_window_s=window_s,
        warnings=tuple(str(fault) for fault in faults),
    )


def _check_mode(info: Mapping[str, str], address: NodeAddress, where: ReplicatedAddress) -> None:
    is_cluster = info.get("cluster_enabled") == "1"
    if info and is_cluster != (where.kind == "cluster"):
        raise StorageMisconfigured(
            f"the store {address} {'runs' if is_cluster else 'does not run'} in cluster mode",
            hint="redis-cluster://host:port/REALM"
            if is_cluster
            else "redis:// for a single server, redis-sentinel:// with sentinels",
        )
    if info.get("role", "master") != "master":
        raise StorageUnavailable(
            f"the store {address} is a replica",
            hint="a failover may be under way; a running server tries again by itself",
        )


async def _check_replicas(connection: RedisConnection, address: NodeAddress, where: ReplicatedAddress) -> None:
    role, _, replicas = cast("tuple[bytes, int, list[list[bytes]]]", await ask(connection, "ROLE"))
    if role != b"master":
        raise StorageUnavailable(f"the store {address} is a replica", hint="a failover may be under way")
    if len(replicas) < where.replicas_min:
        raise StorageUnavailable(
            f"the store {address} has {len(replicas)} replicas online, fewer than the {where.replicas_min} that it needs",
            hint="start them: without one, the loss of this server loses acknowledged operations; replicas_min=0 in the URL"
            " allows that",
        )


async def faults_of_replicas(info: Mapping[str, str], where: ReplicatedAddress, clock: Clock) -> list[StoreFault]:
    """Return the refused faults of the replicas that answer.

    Args:
        info: The answer of their primary to INFO.
        where: The store.
        clock: The clock.
    """
    told = [_PLACE.match(line) for name, line in info.items() if _NUMBERED.fullmatch(name)]
    replicas = [where.node(each[1], int(each[2])) for each in told if each is not None]
    return [fault for replica in replicas for fault in await _faults_of_replica(replica, clock)]


async def _faults_of_replica(address: NodeAddress, clock: Clock) -> list[StoreFault]:
    """The refused settings of a replica; none if it does not answer."""
    connection = make_connection(address)
    try:
        async with clock.timeout(REPLICA_S_MAX):
            await connection.connect()
            settings = await read_settings(connection, *REPLICA_SETTINGS) or {}
    except (*BROKEN, TimeoutError):
        return []
    finally:
        await connection.disconnect(nowait=True)
    server = f"the replica {address.host}:{address.port}"
    faults = list(_validity(settings.get("cluster-replica-validity-factor"), server))
    return [*faults, _without_file(server)] if settings.get("appendonly") == "no" else faults
