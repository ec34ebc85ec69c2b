"""A command writes into the journal of a server: it ends long before an archiver of its own would begin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep import keys
from realmkeep.keeping.keeper import engine_of

if TYPE_CHECKING:
    from realmkeep.keeping import Keeper
    from realmkeep.storage import Storage


async def join_journal(keeper: Keeper, server: str) -> None:
    """Have a command's keeper write its entries into the journal of a server, whose archiver archives them.

    Entries of several writers are told apart by their runs, and readers sort by time, so a list may have several writers.

    Args:
        keeper: Opened with a journal; it has written no entry yet.
        server: The server of the settings. If it has no journal, another one of the realm is taken, a live one first.

    Raises:
        StorageError: The store cannot be reached.
    """
    engine = engine_of(keeper)
    engine.journal.write_for(await _server_with_journal(engine.storage, server))


async def _server_with_journal(storage: Storage, server: str) -> str:
    if await storage.exists(keys.server_journaled(server)) or await storage.load_list(
        keys.server_journal(server), count=1
    ):
        return server
    marked = sorted({keys.parse(key).id async for key in storage.keys(keys.server_journaled("*"))})
    live = [name for name in marked if await storage.exists(keys.server_lease(name))]
    return next(iter([*live, *marked]), server)
