"""Runs one server until it is closed or its standard input ends."""

import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import msgspec

from realmkeep.drill.server.breaks import break_promise
from realmkeep.drill.server.heroes import HeroServer
from realmkeep.drill.server.points import DeathPoints
from realmkeep.drill.server.server import DrillServer
from realmkeep.drill.server.settings import ServerSettings
from realmkeep.drill.server.studio import StudioServer
from realmkeep.drill.studio import load_driver
from realmkeep.errors import StorageError
from realmkeep.keeping import Keeper
from realmkeep.storage import ColdStore, open_cold_store, open_storage


async def standard_input_ends() -> None:
    """Return when the drill has closed its end, or is gone."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


def tell_tasks() -> None:
    """Write the stack of every task to the log, for a drill that is stuck."""
    for task in asyncio.all_tasks():
        task.print_stack(limit=8, file=sys.stderr)


async def opened_archive(url: str) -> ColdStore | None:
    """The cold tier, which may be down; None without one."""
    if not url:
        return None
    cold = open_cold_store(url)
    with suppress(StorageError):
        await cold.connect()
    return cold


async def serve(settings: ServerSettings, server: DrillServer) -> None:
    """Serve until closed.

    Args:
        settings: From the drill.
        server: The game.

    Raises:
        RealmkeepError: The store cannot be opened.
    """
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, tell_tasks)
    server.storage = open_storage(settings.store_url, clock=server.clock)
    server.points = DeathPoints(server.storage, Path(f"{settings.socket}.died"))
    server.keeper = await Keeper.open(
        server.storage,
        config=settings.keeper,
        hooks=server.hooks,
        rescue_path=Path(settings.rescue),
        clock=server.clock,
        cold=await opened_archive(settings.archive_url),
    )
    work = [asyncio.create_task(each) for each in (server.report(), server.recover(), standard_input_ends())]
    work += server.keep_archive()
    loop.add_signal_handler(
        signal.SIGTERM, lambda: server.background.run("the close", server.close_on_signal()) and None
    )
    listening = await asyncio.start_unix_server(server.accept, settings.socket)
    closed = asyncio.create_task(server.closed.wait())
    done, _ = await asyncio.wait([closed, work[2]], return_when=asyncio.FIRST_COMPLETED)
    listening.close()
    if closed not in done:
        os._exit(1)
    for task in work:
        task.cancel()


if __name__ == "__main__":
    logging.basicConfig(format="%(relativeCreated)d %(levelname)s %(message)s", level=logging.INFO)
    break_promise()
    given = msgspec.json.decode(sys.argv[1], type=ServerSettings)
    asyncio.run(serve(given, StudioServer(load_driver(given.game)) if given.game else HeroServer()))
