"""The server's own backups, by schedule."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from realmkeep import Config
from realmkeep.operations.backup.schedule import BackupSchedule, is_scheduled
from realmkeep.realm.server.game import Game


@asynccontextmanager
async def scheduled_backups(game: Game, config: Config) -> AsyncGenerator[None]:
    """Make backups for the block, if the settings say so; a failure is in `Game.degraded`."""
    if not is_scheduled(config):
        yield
        return
    game.backups = BackupSchedule(config, game.clock)
    making = game.background.run_forever("backups", game.backups.run)
    try:
        yield
    finally:
        making.cancel()
        await asyncio.wait([making])
