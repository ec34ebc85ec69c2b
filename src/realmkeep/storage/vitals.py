"""The vital signs of a store: memory, rewrites of its log, and whether its last writes to the disk succeeded."""

from collections.abc import Mapping
from typing import Final, Protocol, runtime_checkable

import msgspec

from realmkeep.storage.limits import whole_number
from realmkeep.storage.protocol import Storage

_HEALTHY: Final = {
    "aof_write": "aof_last_write_status",
    "aof_rewrite": "aof_last_bgrewrite_status",
    "snapshot": "rdb_last_bgsave_status",
}


@runtime_checkable
class _Informed(Protocol):
    async def info(self, *sections: str) -> Mapping[str, str]: ...


class StoreVitals(msgspec.Struct, frozen=True):
    """The vital signs; None stands for one that the engine does not tell.

    Attributes:
        memory_used_bytes: The memory of its data.
        memory_max_bytes: The size from which it refuses writes; 0: none is set.
        aof_rewrites: How often it has rewritten its append-only file since it started.
        healthy: Whether its last `aof_write`, `aof_rewrite` and `snapshot` succeeded.
    """

    memory_used_bytes: int | None = None
    memory_max_bytes: int | None = None
    aof_rewrites: int | None = None
    healthy: Mapping[str, bool] = {}


async def read_vitals(storage: Storage) -> StoreVitals:
    """Read the vital signs of a store; a backend without a server of its own tells none.

    Raises:
        StorageUnavailable: The store cannot be reached.
    """
    if not isinstance(storage, _Informed):
        return StoreVitals()
    info = await storage.info("memory", "persistence")

    def number(name: str) -> int | None:
        return whole_number(info.get(name, "").encode())

    return StoreVitals(
        memory_used_bytes=number("used_memory"),
        memory_max_bytes=number("maxmemory"),
        aof_rewrites=number("aof_rewrites"),
        healthy={what: info[name] == "ok" for what, name in _HEALTHY.items() if name in info},
    )
