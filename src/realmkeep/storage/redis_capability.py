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
from realmkeep.storage.redis_faults import fsync_policy, store_faults

VERSION_MIN: Final = (7, 0)
# Redis waits up to two seconds for a slow fsync before it writes again anyway (aof.c, flushAppendOnlyFile).
EVERYSEC_LOSS_S: Final = 2.0
INFO_SECTIONS: Final = ("server", "replication", "persistence", "memory", "cluster")
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
        return parse_info(cast("bytes", await ask(connection, "INFO", *sections)))
    except RedisError as error:
        if is_forbidden(error):
            return {}
        raise


def parse_info(text: bytes) -> dict[str, str]:
    """Return the lines of `INFO` as a dictionary."""
    return dict(line.split(":", 1) for line in text.decode(errors="replace").splitlines() if ":" in line)


def info_text(text: bytes, name: str) -> str:
    """One field of `INFO`; empty if it is missing."""
    _, _, rest = (b"\n" + text).partition(b"\n%b:" % name.encode())
    return rest.partition(b"\r\n")[0].decode(errors="replace")


def is_forbidden(error: BaseException | None) -> bool:
    """Whether the store has answered that an ACL forbids a command."""
    return isinstance(error, RedisError) and is_reply(error) and "NOPERM" in f"{error.status_code} {error}"


def info_number(info: Mapping[str, str], name: str) -> int | None:
    """Return a number of `INFO`; None if it is missing or not a number of 64 bits."""
    return whole_number(info.get(name, "").encode())


async def read_settings(connection: RedisConnection, *names: str) -> dict[str, str] | None:
    """Return `CONFIG GET` of the settings that match `names`; None if the host forbids CONFIG, as hosted services do.

    Raises:
        RedisError: The connection broke, or the server is not ready.
    """
    try:
        flat = cast("list[bytes]", await ask(connection, "CONFIG", "GET", *names))
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
    info = await read_info(connection, *INFO_SECTIONS)
    settings = await read_settings(connection, *SETTINGS)
    engine = check_server(info, store)
    for fault in store_faults(settings, info):
        if fault.is_refused:
            raise StorageMisconfigured(f"the store {store} has {fault}", hint=fault.mend)
    return capability_of(engine, settings, info)


def capability_of(engine: str, settings: Mapping[str, str] | None, info: Mapping[str, str]) -> Capability:
    """Return the promises of a server from its answers to CONFIG GET and INFO, for a server without refused faults."""
    fsync = fsync_policy(settings or {}, info)
    is_durable, loss_window_s = _PROMISES[fsync]
    return Capability(
        backend="redis",
        engine=engine,
        durable_on_return=is_durable,
        survives_power_loss=is_durable,
        loss_window_s=loss_window_s,
        shared=True,
        fsync=fsync,
        warnings=tuple(str(fault) for fault in store_faults(settings, info)),
        process_id=info_number(info, "process_id"),
    )


def check_server(info: Mapping[str, str], store: str) -> str:
    """Return the name and version of a server's engine.

    Args:
        info: The answer to INFO; empty if the server forbids it.
        store: The address, for errors.

    Raises:
        StorageMisconfigured: The engine is too old, or runs in cluster mode.
        StorageUnavailable: The server is a read-only replica.
    """
    engine = check_engine(info, store)
    _check_role(info, store)
    return engine


def check_engine(info: Mapping[str, str], store: str) -> str:
    """Return the name and version of a server's engine; see `check_server`.

    Raises:
        StorageMisconfigured: The engine is too old.
    """
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


def _cluster_url(store: str) -> str:
    scheme, _, rest = store.partition("://")
    host = "host:port" if scheme == "redis+unix" else rest.partition("/")[0]
    return f"{'rediss' if scheme == 'rediss' else 'redis'}-cluster://{host}/REALM"


def _check_role(info: Mapping[str, str], store: str) -> None:
    if info.get("cluster_enabled") == "1":
        raise StorageMisconfigured(
            f"the store {store} runs in cluster mode",
            hint=f"a cluster is named with its realm: {_cluster_url(store)}",
        )
    if info.get("role") == "slave" and info.get("slave_read_only", "1") == "1":
        raise StorageUnavailable(f"the store {store} is a read-only replica", hint="connect to its primary")
