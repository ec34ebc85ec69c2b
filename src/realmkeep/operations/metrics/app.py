"""`/metrics`, `/healthz`, `/readyz` and `/status` as an ASGI application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import CollectorRegistry
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from realmkeep.operations.metrics.collector import ServerCollector
from realmkeep.operations.metrics.observed import ObservedServer
from realmkeep.operations.metrics.report import report_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from realmkeep.keeping import Keeper

NOT_STORED: Final = {"Cache-Control": "no-store"}
UNAVAILABLE: Final = 503


def operations_app(keeper: Callable[[], Keeper]) -> ASGIApp:
    """The same routes, for a game with a web server of its own.

    `Mount("/operations", operations_app(lambda: kept.keeper))` in Starlette. Requests run in the event loop of the keeper; the
    game decides which clients may send them.

    Args:
        keeper: Returns the open keeper; called with each request.
    """
    present: tuple[Keeper, Starlette] | None = None

    async def routed(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal present
        if present is None or present[0] is not keeper():
            server = ObservedServer(keeper())
            server.start()
            present = server.keeper, observed_app(server)
        await present[1](scope, receive, send)

    return routed


def observed_app(server: ObservedServer) -> Starlette:
    """The application of a started server. It runs in the event loop of the keeper, and no route waits for the store.

    `/healthz` is 200 as long as the event loop answers. `/readyz` is 200 if a new player may log in, else 503 with the reasons.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ServerCollector(server))

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"Content-Type": content_type, **NOT_STORED})

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n", headers=NOT_STORED)

    async def readyz(_: Request) -> Response:
        reasons = list(server.not_ready())
        text = "".join(f"{reason}\n" for reason in reasons) or "ready\n"
        return PlainTextResponse(text, UNAVAILABLE if reasons else 200, headers=NOT_STORED)

    async def status(_: Request) -> Response:
        return Response(msgspec.json.encode(report_of(server)), media_type="application/json", headers=NOT_STORED)

    routes = [metrics, healthz, readyz, status]
    return Starlette(routes=[Route(f"/{route.__name__}", route) for route in routes])
