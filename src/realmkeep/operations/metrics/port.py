"""The operator's port of a game server: metrics, health and status."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from starlette.middleware.trustedhost import TrustedHostMiddleware

from realmkeep.config import OperationsConfig
from realmkeep.operations.guest_port import LOOPBACK_NAMES, bind_port, guest_port, is_loopback
from realmkeep.operations.metrics.app import observed_app
from realmkeep.operations.metrics.observed import ObservedServer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import ASGIApp

    from realmkeep.keeping import Keeper

DEFAULT_LISTEN: Final = OperationsConfig().listen


@asynccontextmanager
async def operations_port(observed: Keeper | ObservedServer, listen: str = DEFAULT_LISTEN) -> AsyncGenerator[str]:
    """Serve `/metrics`, `/healthz`, `/readyz` and `/status` while the block runs; yields the address, with the port that it got.

    Enter it in the event loop of the keeper, and leave it after the keeper has closed, so that `/readyz` tells of that, too.

    On a loopback address only requests to a loopback name are answered, so that no web page can read them through a name of its
    own that resolves to this machine.

    Args:
        observed: The keeper; or a server with figures of its own.
        listen: `host:port`, or `[IPv6]:port`.

    Raises:
        ConfigError: The address cannot be used.
    """
    sockets = await bind_port(listen, "operations.listen", "metrics and health")
    server = observed if isinstance(observed, ObservedServer) else ObservedServer(observed)
    app: ASGIApp = observed_app(server)
    if all(is_loopback(each) for each in sockets):
        app = TrustedHostMiddleware(app, [*LOOPBACK_NAMES, sockets[0].getsockname()[0]], www_redirect=False)
    server.start()
    async with guest_port(app, sockets, "the operator's port") as address:
        yield address
