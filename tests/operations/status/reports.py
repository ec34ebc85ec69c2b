"""Reports of a server, made up."""

from typing import Any

import msgspec

from realmkeep.operations.status.report import Durations, StatusReport, StoreReport

EDGES_S = (0.001, 0.01, 0.1, 1.0)
WELL = StatusReport(
    server="town-1",
    incarnation="5f3a9c01",
    version="0.1.0",
    up_s=3_700.0,
    ready=True,
    not_ready=(),
    degraded=(),
    store=StoreReport(
        "valkey 9.1.2", "always", answers=True, warnings=(), memory_used_bytes=2**20, memory_max_bytes=2**22
    ),
    sessions={"player": {"connected": 3, "grace": 1, "leaving": 0}, "zone": {"connected": 0}},
    dirty_records=10,
    dirty_warning=1_000,
    dirty_critical=5_000,
    oldest_dirty_s=12.4,
    flush_interval_s=30.0,
    frozen_records=0,
    queue_depth=2,
    queue_max=20_000,
    lease_left_s=24.0,
    lease_ttl_s=30.0,
    commits={"committed": 1_234, "repeated": 0, "unknown": 0},
    durations={
        "commit": Durations(EDGES_S, (0, 99, 0, 1, 0), 1.0),
        "store": Durations(EDGES_S, (50, 50, 0, 0, 0), 1.0),
        "flush": Durations(EDGES_S, (0, 0, 0, 0, 0), 0.0),
        "loop": Durations(EDGES_S, (100, 0, 0, 0, 0), 0.1),
    },
)


def changed(**fields: Any) -> StatusReport:
    """The report of a server that is well, with other fields."""
    return msgspec.structs.replace(WELL, **fields)
