"""The cold tier of the server: opened before the keeper, kept up beside the game, and given the last cut after the close."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import structlog

from realmkeep import Config
from realmkeep.clock import Clock
from realmkeep.errors import StorageUnavailable
from realmkeep.operations.archive.archiver import ColdArchiver
from realmkeep.realm.server.game import Game
from realmkeep.storage import ColdStore, open_cold_store

LAST_S: Final = 10.0  # for the last cut, after the players are saved

log = structlog.get_logger("realm.archive")


async def opened_cold_store(stack: AsyncExitStack, config: Config, clock: Clock) -> ColdStore | None:
    """The cold tier of the settings, open until the stack ends; None without one. Its database may be down: play does without.

    Raises:
        ConfigError: `archive.url` is malformed.
        StorageMisconfigured: The database refuses this user, or is none that can serve.
    """
    if not config.archive.url:
        return None
    cold = open_cold_store(config.archive.url, clock=clock)
    stack.push_async_callback(cold.disconnect)
    try:
        await cold.connect()
    except StorageUnavailable as error:
        log.error("the archive cannot be reached; frozen players cannot log in until it is back", error=str(error))
    return cold


@asynccontextmanager
async def kept_archive(game: Game, cold: ColdStore | None, config: Config) -> AsyncGenerator[None]:
    """Ship, sweep and freeze for the block; a failure is in `keeper.degraded`."""
    if cold is None:
        yield
        return
    game.cold_archiver = archiver = ColdArchiver(game.keeper, cold, config.archive)
    tasks = [
        game.background.run_forever("archive", archiver.run),
        game.background.run_forever("archive sweep", archiver.run_sweeps),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def ship_last_cut(game: Game) -> None:
    """After the keeper is closed: give the cold tier the states that the players were saved in."""
    if game.cold_archiver is not None:
        await game.cold_archiver.ship_last(LAST_S)
