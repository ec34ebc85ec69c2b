"""`server.json`: how a running server is found."""

from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from realmkeep.errors import StorageMisconfigured

SERVER_FILE: Final = "server.json"


class ServerFile(msgspec.Struct):
    """What `server.json` tells of a running server: port numbers, and the pid of an embedded store."""

    pid: int
    host: str
    tcp: int
    udp: int
    auth_public_key: str
    store_url: str
    store_pid: int | None


def write_server_file(directory: Path, told: ServerFile) -> None:
    """Write it whole or not at all: somebody may be waiting for it. Blocks.

    Raises:
        StorageMisconfigured: An embedded store could not write its process id.
        OSError: It cannot be written.
    """
    store = urlsplit(told.store_url)
    if store.scheme == "embedded":
        pid_file = Path(unquote(store.path)[1:]) / "store.pid"
        try:
            told.store_pid = int(pid_file.read_text(encoding="ascii"))
        except ValueError as error:
            raise StorageMisconfigured(
                f"{pid_file} holds no process id", hint="the disk may be full: make room, and start again"
            ) from error
    staged = directory / f".{SERVER_FILE}.{told.pid}"
    staged.write_bytes(msgspec.json.encode(told) + b"\n")
    staged.replace(directory / SERVER_FILE)


def read_server_file(directory: Path) -> ServerFile | None:
    """What the server of this directory says; None if none runs. Blocks."""
    try:
        return msgspec.json.decode((directory / SERVER_FILE).read_bytes(), type=ServerFile)
    except FileNotFoundError:
        return None


def remove_server_file(directory: Path) -> None:
    """The server is gone, or has been for a while. Blocks."""
    (directory / SERVER_FILE).unlink(missing_ok=True)
