"""After the end of a drill: both tiers are equal."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from realmkeep.config import ArchiveConfig, KeeperConfig
from realmkeep.keeping import Keeper
from realmkeep.operations.archive.archiver import ColdArchiver
from realmkeep.operations.archive.verifying import verify
from realmkeep.storage import open_cold_store, open_storage

if TYPE_CHECKING:
    from realmkeep.clock import Clock


async def check_tiers(store_url: str, archive_url: str, clock: Clock) -> list[str]:
    """Sweep once, as a server does at its start, and compare every record; every difference.

    Args:
        store_url: The hot store; no server uses it any more.
        archive_url: The cold tier.
        clock: The clock.

    Raises:
        StorageError: One of them cannot be reached.
    """
    cold = open_cold_store(archive_url, clock=clock)
    await cold.connect()
    storage = open_storage(store_url, clock=clock)
    try:
        keeper = await Keeper.open(
            storage, config=KeeperConfig(name="check"), cold=cold, clock=clock, rescue_path=Path(os.devnull)
        )
        try:
            await ColdArchiver(keeper, cold, ArchiveConfig()).sweeper.sweep()
            found = await verify(storage, cold)
        finally:
            await keeper.close()
        wrong = [f"tiers: {fault.key} {fault.why}" for fault in found.faults]
        wrong += [f"tiers: {found.behind} records are newer in the store"] if found.behind else []
        return wrong + ([f"tiers: {found.only_cold} records are in the archive alone"] if found.only_cold else [])
    finally:
        await storage.disconnect()
        await cold.disconnect()
