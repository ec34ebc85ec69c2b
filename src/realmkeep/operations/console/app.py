"""The console as an ASGI application."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.routing import Route

from realmkeep.config import Config
from realmkeep.errors import NoOperator, RealmkeepError, StorageError
from realmkeep.keeping.keeper import engine_of
from realmkeep.operations.console.assets import asset_response
from realmkeep.operations.console.first_link import FirstLink
from realmkeep.operations.console.gate import Gate
from realmkeep.operations.console.history import History
from realmkeep.operations.console.logins import ConsoleLogins
from realmkeep.operations.console.reports import Reports
from realmkeep.operations.console.routes import ROUTES, ConsoleRoute
from realmkeep.operations.console.searches import Searches
from realmkeep.operations.console.visit import Desk, NavigationLink, Visit
from realmkeep.operations.guest_port import LOOPBACK_NAMES
from realmkeep.operations.metrics.observed import ObservedServer
from realmkeep.operations.operators.account_acts import AccountActs
from realmkeep.operations.operators.acts import Acts
from realmkeep.operations.operators.notes import Notes
from realmkeep.operations.operators.operators import Operators
from realmkeep.operations.operators.quarantine import Quarantine
from realmkeep.operations.operators.roles import Role

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from realmkeep.accounts import Accounts
    from realmkeep.keeping import Keeper
    from realmkeep.operations.operators.players import LiveGame, Players
    from realmkeep.records import Record

STORE_WITHIN_S: Final = 1.0  # a page of a realm whose store is away is needed most
LOOK_AGAIN_S: Final = 2.0  # a disabled operator, or another role, counts after this time at the latest


@dataclass(frozen=True)
class Page:
    """A page of a game's own in the console.

    Attributes:
        path: Its path, such as `/weather`.
        label: Its name in the navigation; empty: not there.
        answer: Answers a request, usually with `visit.page(...)`.
        role: The lowest role that may see it.
        method: `POST` for one that changes something.
    """

    path: str
    label: str
    answer: Callable[[Visit], Awaitable[Response]]
    role: Role = Role.VIEWER
    method: str = "GET"


class Console:
    """The console of a server, an ASGI application. Make it with `console`."""

    def __init__(self, desk: Desk, pages: Iterable[Page], hosts: Iterable[str]) -> None:
        routes = [
            *ROUTES,
            *(ConsoleRoute(page.method, page.path, page.role, page.answer, page.label) for page in pages),
        ]
        desk.links = [
            NavigationLink(route.path, route.label, route.role) for route in routes if route.label and route.role
        ]
        self._desk = desk
        served = [Route(route.path, _endpoint(desk, route), methods=[route.method]) for route in routes]
        files = Route("/static/{version}/{name}", _asset, methods=["GET"])
        nothing = Route("/{path:path}", _endpoint(desk, ConsoleRoute("GET", "", None, _not_found)), methods=["GET"])
        self._app: ASGIApp = Gate(Starlette(routes=[*served, files, nothing]), hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._app(scope, receive, send)

    async def first_link(self) -> str | None:
        """The path of a one-time link that makes the first operator, for an hour; None if the realm has an operator.

        Raises:
            Quarantined: An operator cannot be read.
            StorageError: The store cannot be reached.
        """
        if await self._desk.operators.list():
            return None
        return f"/first/{self._desk.first_link.make_token()}"


def console(
    keeper: Keeper,
    accounts: Accounts,
    players: Players,
    *,
    config: Config | None = None,
    observed: ObservedServer | None = None,
    live: LiveGame | None = None,
    records: Iterable[type[Record]] = (),
    pages: Iterable[Page] = (),
    hosts: Iterable[str] = LOOPBACK_NAMES,
) -> Console:
    """Make the console of a game server.

    `Mount("/console", console(keeper, accounts, PLAYERS, hosts=["ops.example.com"]))` in Starlette. It runs in the event loop of the keeper. Every page needs an operator with a password; no page waits for a scan of the store.

    Args:
        keeper: The open keeper.
        accounts: The accounts of the realm.
        players: The game's word on its players, as the commands of operators need it.
        config: The settings: `auth` and `operators` for logins and limits, `backup` for the list of backups, `console`.
        observed: The server with figures of the game's own, as for `operations_port`; it is started.
        live: The game's reactions to acts on live players.
        records: The game's record classes beside that of its players, for quarantine and boards.
        pages: Pages of the game's own.
        hosts: The names by which browsers ask for it; requests to others are refused.
    """
    config, engine = config or Config(), engine_of(keeper)
    if observed is None:
        observed = ObservedServer(keeper, config=config.operations, logins=accounts.logins)
    observed.start()
    history = History(observed, players.record.__realmkeep__.kind)
    engine.background.run_forever("history of the console", history.keep_sampling)
    acts, classes = Acts(keeper, players, config.operators, live=live), [*records, players.record]
    desk = Desk(
        keeper=keeper,
        engine=engine,
        accounts=accounts,
        players=players,
        acts=acts,
        operators=Operators(engine.storage, config.auth, engine.clock, server=keeper.name),
        observed=observed,
        history=history,
        logins=ConsoleLogins(engine.clock),
        first_link=FirstLink(engine.clock),
        searches=Searches(engine.clock),
        quarantine=Quarantine(keeper, classes),
        boards={
            field.ranked: cls is players.record
            for cls in classes
            for field in cls.__realmkeep__.durable
            if field.ranked
        },
        account_acts=AccountActs(acts, config.auth),
        notes=Notes(keeper, acts),
        reports=Reports(config, engine.clock, engine.background),
        config=config,
        secure=config.console.behind_proxy or bool(config.console.tls_cert),
    )
    return Console(desk, pages, hosts)


def _endpoint(desk: Desk, route: ConsoleRoute) -> Callable[[Request], Awaitable[Response]]:
    """The one place where a role is enforced."""

    async def answer(request: Request) -> Response:
        visit = Visit(desk, request)
        try:
            visit = await _admitted(visit)
            if route.role is not None and visit.operator is None:
                return visit.to_login()
            if route.role is not None and visit.role < route.role:
                return visit.render("not_granted.html", status=403, title="Not for this role", needed=route.role.word)
            return await route.answer(visit)
        except RealmkeepError as error:
            return visit.failed(error)

    return answer


async def _not_found(visit: Visit) -> Response:
    return visit.render("not_found.html", status=404, title="No such page")


async def _asset(request: Request) -> Response:
    return asset_response(request)


async def _admitted(visit: Visit) -> Visit:
    """The visit with the operator of its cookie, as the store has it now, or had it two seconds ago."""
    desk, clock = visit.desk, visit.desk.engine.clock
    token = visit.request.cookies.get(desk.cookie, "")
    login = desk.logins.find(token) if token else None
    if login is None:
        return visit
    if clock.monotonic_s() - login.looked_s >= LOOK_AGAIN_S:
        try:
            async with clock.timeout(STORE_WITHIN_S):
                operator = await desk.operators.get(login.operator.name)
        except NoOperator:
            desk.logins.end(token)
            return visit
        except (StorageError, TimeoutError):
            return Visit(desk, visit.request, login, login.operator)
        if not login.is_of(operator):
            desk.logins.end(token)
            return visit
        login.operator, login.looked_s = operator, clock.monotonic_s()
    return Visit(desk, visit.request, login, login.operator)
