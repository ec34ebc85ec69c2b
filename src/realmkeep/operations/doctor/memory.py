"""Examines a store in memory: there is nothing to ask."""

from urllib.parse import SplitResult

from realmkeep.clock import Clock
from realmkeep.operations.doctor.findings import Examined, Finding
from realmkeep.operations.doctor.machine import Machine
from realmkeep.storage.memory import CAPABILITY


async def examine(_url: SplitResult, _machine: Machine, _clock: Clock, examined: Examined) -> None:
    """Report the store in memory, which keeps nothing."""
    examined.engine, examined.promise = CAPABILITY.engine, CAPABILITY.promise
    examined.findings.append(
        Finding(
            "store-in-memory",
            "danger",
            "the store is the memory of the server",
            "every player is gone when it ends; it is for tests",
            'url = "embedded:///realm-data/store" in [store] of realmkeep.toml',
        )
    )
