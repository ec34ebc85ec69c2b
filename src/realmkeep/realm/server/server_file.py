"""`server.json`: the file through which other programs find a running server."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from realmkeep.clock import Clock
from realmkeep.errors import ConfigError
from realmkeep.files import read_file, replace_file

SERVER_FILE: Final = "server.json"
LOOK_S: Final = 1.0  # the file is up to date within this time

log = structlog.get_logger("realm.serve")


class ServerFile(msgspec.Struct):
    """The contents of `server.json`: ports, public key, the store's URL, an embedded store's pid, the TLS certificate, the addresses of metrics and console, whether it is a gateway."""

    pid: int
    host: str
    tcp: int
    udp: int
    auth_public_key: str
    store_url: str
    store_pid: int | None
    tls_cert: str | None = None
    operations: str | None = None
    console: str | None = None
    gateway: bool = False


def write_server_file(directory: Path, told: ServerFile) -> None:
    """Write the file atomically, because another program may be waiting for it. Blocks.

    Raises:
        OSError: The file cannot be written.
    """
    replace_file(directory / SERVER_FILE, msgspec.json.encode(told) + b"\n")


async def keep_server_file(
    directory: Path, tell: Callable[[], ServerFile], clock: Clock, stopping: asyncio.Event
) -> None:
    """Write the file, and again whenever it is gone or the store has a new process; returns once `stopping` is set.

    Args:
        directory: The directory of the file.
        tell: Gives the present contents.
        clock: Paces the checks.
        stopping: Set when the server ends.

    Raises:
        OSError: The first write failed; a later failure is logged and tried again.
    """
    told = tell()
    await asyncio.to_thread(write_server_file, directory, told)
    failing = False
    while not await _is_set_within(LOOK_S, stopping, clock):
        now = tell()
        if now.store_pid != told.store_pid:
            log.info("the store has a new process", store_pid=now.store_pid, earlier_pid=told.store_pid)
        elif not failing and await asyncio.to_thread((directory / SERVER_FILE).exists):
            continue
        told = now
        try:
            await asyncio.to_thread(write_server_file, directory, told)
        except OSError as error:
            if not failing:
                log.error("server.json cannot be written; trying again", error=str(error))
            failing = True
        else:
            failing = False


async def _is_set_within(seconds: float, event: asyncio.Event, clock: Clock) -> bool:
    try:
        async with clock.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False


def read_server_file(directory: Path) -> ServerFile | None:
    """The server file of a directory; None if no server runs there. Blocks.

    Raises:
        ConfigError: The file is not one that a server has written.
        FileRefused: Another user could have written the file.
        OSError: The file cannot be read.
    """
    path = directory / SERVER_FILE
    try:
        return msgspec.json.decode(read_file(path), type=ServerFile)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ConfigError(
            f"{path} cannot be read: {error}", hint="remove it; a running server writes it again"
        ) from error


def remove_server_file(directory: Path) -> None:
    """Remove the file of a server that has ended. Blocks."""
    (directory / SERVER_FILE).unlink(missing_ok=True)
