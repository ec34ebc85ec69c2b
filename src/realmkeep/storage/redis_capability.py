"""Reads the promises of a live Redis or Valkey, and checks that it can serve."""

import re
from collections.abc import Mapping
from typing import Final, cast

from redis.exceptions import RedisError

from realmkeep.errors import StorageMisconfigured, StorageUnavailable
from realmkeep.storage.limits import whole_number
from realmkeep.storage.protocol import Capability
from realmkeep.storage.redis_connection import RedisConnection, ask
from realmkeep.storage.redis_errors import is_reply

VERSION_MIN: Final = (7, 0)
# Redis waits up to two seconds for a slow fsync before it writes again anyway (aof.c, flushAppendOnlyFile).
EVERYSEC_LOSS_S: Final = 2.0
SETTINGS: Final = (
    "appendonly",
    "appendfsync",
    "no-appendfsync-on-rewrite",
    "maxmemory",
    "maxmemory-policy",
    "stop-writes-on-bgsave-error",
)
_PROMISES: Final[Mapping[str, tuple[bool, float | None]]] = {
    "always": (True, 0.0),
    "everysec": (False, EVERYSEC_LOSS_S),
    "no": (False, None),
    "off": (False, None),
    "unknown": (False, None),
}


async def read_info(connection: RedisConnection, *sections: str) -> dict[str, str]:
    """Return `INFO` as a dictionary; empty if an ACL forbids it.

    Raises:
        RedisError: The connection broke, or the server is not ready.
    """
    try:
        text = cast("bytes", await ask(connection, "INFO", *sections)).decode(errors="replace")
    except RedisError as error:
        if is_reply(error) and "NOPERM" in f"{error.status_code} {error}":
            return {}
        raise
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def info_number(info: Mapping[str, str], name: str) -> int | None:
    """Return a number of `INFO`; None if it is missing or not a number of 64 bits."""
    return whole_number(info.get(name, "").encode())


async def read_settings(connection: RedisConnection) -> dict[str, str] | None:
    """Return `CONFIG GET` of the settings that matter; None if the host forbids CONFIG, as hosted services do.

    Raises:
        RedisError: The connection broke, or the server is not ready.
    """
    try:
        flat = cast("list[bytes]", await ask(connection, "CONFIG", "GET", *SETTINGS))
    except RedisError as error:
        if is_reply(error) and re.search(
            r"NOPERM|unknown (sub)?command", f"{error.status_code} {error}", re.IGNORECASE
        ):
            return None
        raise
    texts = [entry.decode(errors="replace") for entry in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


async def read_capability(connection: RedisConnection, store: str) -> Capability:
    """Return the promises of a server as it is configured now.

    Args:
        connection: Connected, and without other users.
        store: The address, for errors.

    Raises:
        StorageMisconfigured: The server cannot keep Realmkeep's promises: it is too old, is a cluster, evicts keys, or
            has `no-appendfsync-on-rewrite yes`.
        StorageUnavailable: The server is a read-only replica.
        RedisError: The connection broke, or the server is not ready.
    """
    info = await read_info(connection, "server", "replication", "persistence", "memory", "cluster")
    settings = await read_settings(connection)
    engine = _check_engine(info, store)
    _check_role(info, store)
    known = settings or {}
    _check_settings(known, info, store)
    fsync = _fsync(known, info)
    is_durable, loss_window_s = _PROMISES[fsync]
    return Capability(
        backend="redis",
        engine=engine,
        durable_on_return=is_durable,
        survives_power_loss=is_durable,
        loss_window_s=loss_window_s,
        shared=True,
        fsync=fsync,
        warnings=tuple(_warnings(settings, info, fsync)),
        process_id=info_number(info, "process_id"),
    )


def _check_engine(info: Mapping[str, str], store: str) -> str:
    if not info:
        return "redis (INFO is forbidden)"
    compatible = info.get("redis_version", "0.0")
    name = info.get("server_name", "redis")
    engine = f"{name} {info.get(f'{name}_version', compatible)}"
    numbers = [int(number) for number in re.findall(r"[0-9]{1,9}", compatible)[:2]]
    if tuple(numbers) < VERSION_MIN:
        raise StorageMisconfigured(
            f"the store {store} is {engine}, which is too old", hint="Redis or Valkey 7.0 or later is needed"
        )
    return engine


def _check_role(info: Mapping[str, str], store: str) -> None:
    if info.get("cluster_enabled") == "1":
        raise StorageMisconfigured(
            f"the store {store} runs in cluster mode", hint="a transaction spans keys of several slots; use one server"
        )
    if info.get("role") == "slave" and info.get("slave_read_only", "1") == "1":
        raise StorageUnavailable(f"the store {store} is a read-only replica", hint="connect to its primary")


def _check_settings(settings: Mapping[str, str], info: Mapping[str, str], store: str) -> None:
    if settings.get("no-appendfsync-on-rewrite") == "yes" and settings.get("appendonly") == "yes":
        raise StorageMisconfigured(
            f"the store {store} has no-appendfsync-on-rewrite yes: it does not fsync while it rewrites its file",
            hint="CONFIG SET no-appendfsync-on-rewrite no, and in its configuration file",
        )
    policy = settings.get("maxmemory-policy", info.get("maxmemory_policy", "noeviction"))
    if policy != "noeviction" and _maxmemory(settings, info) != 0:
        raise StorageMisconfigured(
            f"the store {store} has maxmemory-policy {policy}: it would delete players when memory is short",
            hint="CONFIG SET maxmemory-policy noeviction, and in its configuration file",
        )


def _maxmemory(settings: Mapping[str, str], info: Mapping[str, str]) -> int | None:
    text = settings.get("maxmemory", info.get("maxmemory", ""))
    return whole_number(text.encode())


def _fsync(settings: Mapping[str, str], info: Mapping[str, str]) -> str:
    is_on = settings.get("appendonly", {"1": "yes", "0": "no"}.get(info.get("aof_enabled", ""), ""))
    if is_on == "no":
        return "off"
    policy = settings.get("appendfsync", "unknown")
    return policy if policy in _PROMISES else "unknown"


def _warnings(settings: Mapping[str, str] | None, info: Mapping[str, str], fsync: str) -> list[str]:
    warnings: list[str] = []
    if settings is None:
        warnings.append("the host forbids CONFIG GET: its fsync setting is unknown, so nothing is promised")
    if not info:
        warnings.append("this user may not call INFO: version, memory limit and role are unknown")
    if fsync == "off":
        warnings.append("appendonly is no: a crash of the store loses everything since its last snapshot")
    elif fsync == "no":
        warnings.append("appendfsync is no: a power loss loses the writes that the system still buffers, often 30 s")
    elif fsync == "everysec":
        warnings.append("appendfsync is everysec: a crash of the store loses up to 2 s of committed writes")
    known = settings or {}
    if _maxmemory(known, info) == 0:
        warnings.append(
            "maxmemory is 0: the store grows until the system kills it; set a limit below the machine's memory"
        )
    if known.get("maxmemory-policy", "noeviction") != "noeviction":
        warnings.append("maxmemory-policy is not noeviction: with a memory limit it would delete players")
    if known.get("stop-writes-on-bgsave-error") == "no":
        warnings.append("stop-writes-on-bgsave-error is no: failed snapshots go unnoticed")
    return warnings
