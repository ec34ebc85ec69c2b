"""`server.json`: how a running server is found."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import structlog

from realmkeep import ConfigError
from realmkeep.clock import Clock
from realmkeep.files import read_file, replace_file

SERVER_FILE: Final = "server.json"
LOOK_S: Final = 1.0  # within this the file says what is new

log = structlog.get_logger("realm.serve")


class ServerFile(msgspec.Struct):
    """What `server.json` tells of a running server: port numbers, the pid of an embedded store, the certificate of TLS."""

    pid: int
    host: str
    tcp: int
    udp: int
    auth_public_key: str
    store_url: str
    store_pid: int | None
    tls_cert: str | None = None


def write_server_file(directory: Path, told: ServerFile) -> None:
    """Write it whole or not at all: somebody may be waiting for it. Blocks.

    Raises:
        OSError: It cannot be written.
    """
    replace_file(directory / SERVER_FILE, msgspec.json.encode(told) + b"\n")


async def keep_server_file(
    directory: Path, tell: Callable[[], ServerFile], clock: Clock, stopping: asyncio.Event
) -> None:
    """Write it, write it again when it is gone or the store has another process, and return once `stopping` is set.

    Args:
        directory: Where.
        tell: What it says at this moment.
        clock: Time.
        stopping: The server ends.

    Raises:
        OSError: It cannot be written the first time; later that is logged and tried again.
    """
    told = tell()
    await asyncio.to_thread(write_server_file, directory, told)
    failing = False
    while not await _is_set_within(LOOK_S, stopping, clock):
        now = tell()
        if now.store_pid != told.store_pid:
            log.info("the store has a new process", store_pid=now.store_pid, former=told.store_pid)
        elif not failing and await asyncio.to_thread((directory / SERVER_FILE).exists):
            continue
        told = now
        try:
            await asyncio.to_thread(write_server_file, directory, told)
        except OSError as error:
            if not failing:
                log.error("server.json cannot be written; it is tried again", error=str(error))
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
    """What the server of this directory says; None if none runs. Blocks.

    Raises:
        ConfigError: The file is not one that a server has written.
        FileRefused: Another user could have written it.
        OSError: It cannot be read.
    """
    path = directory / SERVER_FILE
    try:
        return msgspec.json.decode(read_file(path), type=ServerFile)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise ConfigError(
            f"{path} cannot be read: {error}", hint="remove it; a server that runs writes it again"
        ) from error


def remove_server_file(directory: Path) -> None:
    """The server is gone, or has been for a while. Blocks."""
    (directory / SERVER_FILE).unlink(missing_ok=True)
