"""The operator's port of a game server, in the game's own event loop.

At ten requests a second the tick's lateness at the 99th percentile was 3.1 ms with the port and 4.0 ms without it: noise. A thread
was no faster, and would read live records while they change.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import uvicorn
from starlette.middleware.trustedhost import TrustedHostMiddleware
from typing_extensions import override

from realmkeep.config import OperationsConfig
from realmkeep.errors import ConfigError
from realmkeep.operations.metrics.app import observed_app
from realmkeep.operations.metrics.observed import ObservedServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from starlette.types import ASGIApp

    from realmkeep.keeping import Keeper

DEFAULT_LISTEN: Final = OperationsConfig().listen
LOOPBACK_NAMES: Final = ["localhost", "127.0.0.1", "::1", "[::1]"]
PORT_MAX: Final = 65_535
CONNECTIONS_MAX: Final = 64  # a scraper, probes and a few people
SHUTDOWN_S: Final = 1  # for the answers under way


@asynccontextmanager
async def operations_port(observed: Keeper | ObservedServer, listen: str = DEFAULT_LISTEN) -> AsyncGenerator[str]:
    """Serve `/metrics`, `/healthz`, `/readyz` and `/status` while the block runs; yields the address, with the port that it got.

    Enter it in the event loop of the keeper, and leave it after the keeper has closed, so that `/readyz` tells of that, too.

    On a loopback address only requests to a loopback name are answered, so that no web page can read them through a name of its
    own that resolves to this machine.

    Args:
        observed: The keeper; or a server with figures of its own, which is not started yet.
        listen: `host:port`, or `[IPv6]:port`.

    Raises:
        ConfigError: The address cannot be used.
    """
    sockets = await _bound(listen)
    server = observed if isinstance(observed, ObservedServer) else ObservedServer(observed)
    host, port = sockets[0].getsockname()[:2]
    app: ASGIApp = observed_app(server)
    if all(_is_loopback(each) for each in sockets):
        app = TrustedHostMiddleware(app, [*LOOPBACK_NAMES, host], www_redirect=False)
    serving = _GuestServer(
        uvicorn.Config(
            app,
            loop="none",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_graceful_shutdown=SHUTDOWN_S,
        )
    )
    server.start()
    task = asyncio.get_running_loop().create_task(serving.serve(sockets), name="the operator's port")
    await asyncio.wait([task, begun := asyncio.ensure_future(serving.begun.wait())], return_when="FIRST_COMPLETED")
    begun.cancel()
    try:
        yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    finally:
        serving.should_exit = True
        await task


class _GuestServer(uvicorn.Server):
    """A server in the event loop of a game: the game's own handlers of signals stay."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.begun = asyncio.Event()

    @override
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.begun.set()


async def _bound(listen: str) -> list[socket.socket]:
    """Sockets on every address of the host.

    Raises:
        ConfigError: The address cannot be used.
    """
    host, _, port = listen.rpartition(":")
    bound: list[socket.socket] = []
    try:
        if int(port) > PORT_MAX:
            raise ValueError(f"a port is {PORT_MAX} at most")
        found = await asyncio.get_running_loop().getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, _, _, _, address in dict.fromkeys(found):
            where = address[:2] if not bound else (address[0], bound[0].getsockname()[1])
            bound.append(socket.create_server((str(where[0]), int(where[1])), family=family))
    except (OSError, ValueError) as error:
        for each in bound:
            each.close()
        errno = error.errno or 0 if isinstance(error, OSError) else 0
        why = os.strerror(errno) if errno > 0 else str(error)  # an unknown name has a negative number and its own text
        raise ConfigError(
            f"cannot listen on {listen} for metrics and health: {why}",
            hint="set operations.listen to another address, such as 127.0.0.1:0 for any free port, or to nothing",
        ) from error
    return bound


def _is_loopback(bound: socket.socket) -> bool:
    return ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback
