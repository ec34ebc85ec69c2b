"""`realmkeep store`: for those who run the store themselves."""

import sys
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from realmkeep.errors import ConfigError
from realmkeep.storage.embedded_config import MAXMEMORY_BYTES, MAXMEMORY_BYTES_MIN, Fsync, StoreSettings, configuration

MIB = 1024**2

app = App(name="store", help="The Valkey or Redis that keeps everything.")


@app.command
def config(
    *,
    directory: str = "/var/lib/realmkeep",
    socket: str = "",
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=65535))] = 6379,
    maxmemory_mb: Annotated[int, Parameter(validator=Number(gte=MAXMEMORY_BYTES_MIN // MIB))] = MAXMEMORY_BYTES // MIB,
    fsync: Fsync = "always",
) -> None:
    """Print a configuration for Valkey or Redis, 7.0 or later, each line with its reason.

    Args:
        directory: Where its files will lie.
        socket: Its unix socket; empty for none.
        port: Its TCP port on this machine; 0 for none.
        maxmemory_mb: When it holds so much, it refuses writes.
        fsync: always: on disk before the answer. everysec: within about two seconds after it.

    Raises:
        ConfigError: It has neither a socket nor a port.
    """
    if not socket and not port:
        raise ConfigError("nobody could reach this store", hint="give it --socket, --port or both")
    settings = StoreSettings(directory, socket, port, maxmemory_mb * MIB, fsync)
    sys.stdout.write(configuration(settings))
