"""The start of a keeper: the store, the rescue file of the run before, the name, the counter of ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep.clock import SystemClock
from realmkeep.config import KeeperConfig, RecordsConfig
from realmkeep.keeping.lifecycle import shutdown
from realmkeep.keeping.lifecycle.engine import Engine
from realmkeep.keeping.live.hooks import Hooks
from realmkeep.keeping.recovery.former_rescues import deliver_former
from realmkeep.keeping.server_config import check_complete, read_store_id
from realmkeep.storage import Storage, open_storage

if TYPE_CHECKING:
    from pathlib import Path

    from realmkeep.clock import Clock
    from realmkeep.config import JournalConfig
    from realmkeep.storage.cold import ColdStore


async def open_engine(
    storage: Storage | str,
    config: KeeperConfig | None,
    records: RecordsConfig | None,
    hooks: Hooks | None,
    clock: Clock | None,
    journal: JournalConfig | None,
    cold: ColdStore | None,
    rescue_path: Path,
) -> Engine:
    """A started engine that has this server's name.

    Raises:
        NameTaken: A live keeper has this name.
        RescueNotDelivered: The rescue file of an earlier run cannot be delivered.
        StorageError: The store cannot be opened.
    """
    clock = clock or SystemClock()
    store = open_storage(storage, clock=clock) if isinstance(storage, str) else storage
    await store.connect()
    parts = (config or KeeperConfig(), records or RecordsConfig(), hooks or Hooks())
    engine = Engine(store, clock, *parts, journal, cold)
    try:
        await check_complete(store)
        store_id = engine.store_loss.store_id = await read_store_id(store)
        if rescue_path != shutdown.NOWHERE:  # before the name is taken: until then the records are kept from others
            engine.former = await deliver_former(store, rescue_path, store_id.decode(errors="replace"), clock)
        await engine.lease.take_name()
        await engine.ids.check_counter()
        if engine.journal.is_on:
            await engine.journal.open(await engine.ids.allocate_ids(1))
    except BaseException:
        engine.lease.forget_name()
        if isinstance(storage, str):
            await shutdown.disconnect_storage(store)
        raise
    engine.start()
    return engine
