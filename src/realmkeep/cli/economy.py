"""`realmkeep economy`: everything that a realm holds."""

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from cyclopts import App

from realmkeep.cli.exit_codes import FINDINGS, exit_codes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from realmkeep.config import Config
    from realmkeep.operations.economy.audit import Audit
    from realmkeep.storage import Storage

app = App(
    name="economy", help="The economy of a realm: totals, items that exist twice, and what was made and destroyed."
)


@app.command
def audit(
    *,
    store: str | None = None,
    backup: str | None = None,
    directory: Path | None = None,
    identity: Path | None = None,
    archive: str | None = None,
    without_journal: bool = False,
    json: bool = False,
) -> None:
    """Count everything that a store or a backup holds, by kind and in all, and find items that exist more than once.

    What commits made and destroyed comes from the journal, by reason. Exits with 0 if no item exists twice, every record can be read
    and the journal has no commit that did not add up; otherwise with 1. Nothing is written; a store may be in use.

    Args:
        store: URL of the store; by default from the settings.
        backup: Count this backup, in a scratch store, instead of a store.
        directory: The directory of the backups.
        identity: File with the secret keys of age, for an encrypted backup.
        archive: URL of the journal's archive; by default from the settings.
        without_journal: Leave the journal out.
        json: Print JSON instead of lines.
    """
    from realmkeep.cli.store_flag import config_with  # noqa: PLC0415 - a command imports its modules when it runs

    flags = {"journal.url": archive, "backup.directory": None if directory is None else str(directory)}
    with exit_codes():
        found = asyncio.run(_audit(config_with(store, **flags), backup, identity, with_journal=not without_journal))
    if json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in _lines(found))
    sys.exit(FINDINGS if found.doubled_count or found.unreadable or found.unbalanced else 0)


async def _audit(config: "Config", backup: str | None, identity: Path | None, *, with_journal: bool) -> "Audit":
    from realmkeep.operations.backup.game import game_of  # noqa: PLC0415 - as above
    from realmkeep.operations.economy.audit import audit_economy  # noqa: PLC0415 - as above
    from realmkeep.operations.journal.archives import open_archive  # noqa: PLC0415 - as above
    from realmkeep.operations.journal.history import History  # noqa: PLC0415 - as above

    game, archive = game_of(config), open_archive(config.journal.url)
    try:
        async with _opened(config, backup, identity) as (storage, until_us):
            history = History(archive, storage) if with_journal else None
            return await audit_economy(storage, game, history, until_us=until_us)
    finally:
        await archive.close()


@asynccontextmanager
async def _opened(
    config: "Config", backup: str | None, identity: Path | None
) -> "AsyncGenerator[tuple[Storage, int | None]]":
    """The store of the settings, beside its servers; or a scratch store of a backup, with the moment at which it was made."""
    from realmkeep.clock import SystemClock  # noqa: PLC0415 - as above

    clock = SystemClock()
    if backup is None:
        from realmkeep.storage import open_cold_store  # noqa: PLC0415 - as above
        from realmkeep.storage.beside import connect_beside  # noqa: PLC0415 - as above
        from realmkeep.storage.cold import ThawedStorage  # noqa: PLC0415 - as above

        storage = await connect_beside(config.store.url, clock=clock)
        cold = open_cold_store(config.archive.url, clock=clock) if config.archive.url else None
        try:
            if cold is not None:
                await cold.connect()
            yield storage if cold is None else ThawedStorage(storage, cold), None  # frozen players hold something, too
        finally:
            if cold is not None:
                await cold.disconnect()
            await storage.disconnect()
        return
    from realmkeep.operations.backup.catalogue import find_backup  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.packing import check_files, read_identities  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.scratch import scratch_store  # noqa: PLC0415 - as above
    from realmkeep.operations.backup.workplace import workplace  # noqa: PLC0415 - as above

    path, manifest = await asyncio.to_thread(find_backup, Path(config.backup.directory), backup)
    await asyncio.to_thread(check_files, path, manifest)
    identities = () if identity is None else await asyncio.to_thread(read_identities, identity)
    async with (
        workplace(path.parent, clock) as work,
        scratch_store(path, manifest, work, identities=identities, clock=clock) as storage,
    ):
        yield storage, manifest.taken_us


def _lines(found: "Audit") -> list[str]:
    lines = [f"{'in all':12}  {name}  {amount:,}" for name, amount in found.totals.items()]
    for each, amount in found.by_kind.items():
        kind, _, name = each.partition(" ")
        lines.append(f"{kind:12}  {name}  {amount:,}")
    lines += [f"{kind:12}  {count:,} records" for kind, count in found.records.items()]
    lines.append(f"{found.serials:,} items with a serial")
    lines += [f"{each.name}  {each.reason}: {each.made:,} made, {each.destroyed:,} destroyed" for each in found.flows]
    lines += [f"DOUBLED  serial {each.serial}: {', '.join(each.where)}" for each in found.doubled]
    lines += [f"UNREADABLE  {key}" for key in found.unreadable]
    lines += [f"UNDECLARED  {name} {amount:+,}" for name, amount in found.unbalanced.items()]
    return [line if line.isprintable() else ascii(line) for line in lines]
