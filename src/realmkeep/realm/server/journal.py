"""The archive of the server's own journal."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from realmkeep import Config
from realmkeep.operations.journal.archiver import Archiver
from realmkeep.operations.journal.archives import open_archive
from realmkeep.operations.journal.joining import journal_registrations
from realmkeep.realm.server.game import Game
from realmkeep.realm.world.player import Player

LAST_S: Final = 5.0  # for the last entries, after the players are saved


@asynccontextmanager
async def archived_journal(game: Game, config: Config) -> AsyncGenerator[None]:
    """Archive the journal for the block, and once more at its end; a failure is in `Game.degraded`.

    Raises:
        ConfigError: `journal.url` names no archive.
        StorageMisconfigured: A package of the archive is not installed.
    """
    if not config.journal.enabled:
        yield
        return
    journal_registrations(game.keeper, game.accounts)
    archive = open_archive(config.journal.url)
    game.archiver = archiver = Archiver(
        game.keeper,
        archive,
        interval_s=config.journal.interval_s,
        keep_days=config.journal.keep_days,
        players=Player,
    )
    archiving = game.background.run_forever("journal", archiver.run)
    try:
        yield
    finally:
        archiving.cancel()
        await asyncio.wait([archiving])
        try:
            async with game.clock.timeout(LAST_S):
                await archiver.archive_all()
        except TimeoutError:
            pass  # the next start archives them
        await archive.close()
