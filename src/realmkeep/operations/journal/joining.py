"""Entries of the journal that no commit writes: those of commands, and of characters that are made with their account."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep import keys
from realmkeep.keeping.keeper import engine_of

if TYPE_CHECKING:
    from realmkeep import Record
    from realmkeep.accounts import Accounts
    from realmkeep.keeping import Keeper
    from realmkeep.storage import Append, Storage


def journal_registrations(keeper: Keeper, accounts: Accounts) -> None:
    """Note each character that is registered with its account in the journal of a server, with what it holds.

    Args:
        keeper: The server's; opened with a journal.
        accounts: The server's.
    """
    journal = engine_of(keeper).journal

    def entry_of_new(record: Record, key: str, stored: bytes, revision: int) -> Append | None:
        return journal.new_record(record, key, stored, revision) if record.__realmkeep__.journal else None

    accounts.entry_of_new = entry_of_new


async def join_journal(keeper: Keeper, server: str) -> None:
    """Have a command's keeper write its entries into the journal of a server, whose archiver archives them.

    A command ends long before an archiver of its own would begin.
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
