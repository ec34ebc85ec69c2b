"""The port of the console."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from realmkeep.errors import ConfigError
from realmkeep.operations.guest_port import LOOPBACK_NAMES, PortCertificate, bind_port, guest_port, is_loopback

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Sequence

    from realmkeep.config import ConsoleConfig
    from realmkeep.operations.console.app import Console

NOTHING_ENCRYPTS = "passwords would cross the network in the open"


@asynccontextmanager
async def console_port(
    config: ConsoleConfig, make: Callable[[Sequence[str]], Console]
) -> AsyncGenerator[tuple[str, Console]]:
    """Serve a console while the block runs; yields its URL and the console.

    Args:
        config: Its address, names and certificate.
        make: Makes the console for these host names.

    Raises:
        ConfigError: The address or the certificate cannot be used; or the address is reachable from elsewhere, and neither
            TLS nor a proxy is set, or no name.
    """
    sockets = await bind_port(config.listen, "console.listen", "the console")
    local, names = all(is_loopback(each) for each in sockets), config.hosts.split()
    try:
        if not local and not config.tls_cert and not config.behind_proxy:
            raise ConfigError(
                f"the console does not listen on {config.listen}: {NOTHING_ENCRYPTS}",
                hint="set console.tls_cert; or console.behind_proxy = true behind a proxy that speaks TLS; or 127.0.0.1",
            )
        if not local and not names:
            raise ConfigError(
                "console.hosts names no host: a console that other machines reach answers to its own names alone",
                hint='set console.hosts = "console.example.com"',
            )
    except ConfigError:
        for each in sockets:
            each.close()
        raise
    certificate = None
    if config.tls_cert:
        certificate = PortCertificate(Path(config.tls_cert), Path(config.tls_key or config.tls_cert))
    made = make([*names, *LOOPBACK_NAMES, sockets[0].getsockname()[0]] if local else names)
    async with guest_port(made, sockets, "the console", certificate) as address:
        yield f"{'https' if certificate is not None else 'http'}://{address}", made
