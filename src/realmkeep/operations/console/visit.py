"""One request at the console, and all that answers it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, quote

from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse, Response

from realmkeep.errors import (
    AccountError,
    ActPending,
    ActRefused,
    AuthFailed,
    NoOperator,
    NoSuchAccount,
    NotGranted,
    StorageError,
)
from realmkeep.operations.console.templates import TEMPLATES
from realmkeep.operations.operators.roles import GRANTS, Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from realmkeep.accounts import Accounts
    from realmkeep.config import Config
    from realmkeep.errors import RealmkeepError
    from realmkeep.keeping import Keeper
    from realmkeep.keeping.lifecycle.engine import Engine
    from realmkeep.operations.console.first_link import FirstLink
    from realmkeep.operations.console.history import History
    from realmkeep.operations.console.logins import ConsoleLogin, ConsoleLogins
    from realmkeep.operations.console.reports import Reports
    from realmkeep.operations.console.searches import Searches
    from realmkeep.operations.metrics.observed import ObservedServer
    from realmkeep.operations.operators.account_acts import AccountActs
    from realmkeep.operations.operators.acts import Acts
    from realmkeep.operations.operators.notes import Notes
    from realmkeep.operations.operators.operator import Operator
    from realmkeep.operations.operators.operators import Operators
    from realmkeep.operations.operators.players import Players
    from realmkeep.operations.operators.quarantine import Quarantine

log = logging.getLogger(__name__)

FORM_BYTES_MAX: Final = 256 * 1024  # of a form: a record is 64 KiB at most by default, and its text may triple
FORM_S: Final = 30.0  # anyone may begin a form, and the port has few connections
FIELDS_MAX: Final = 64
STATUS: Final[tuple[tuple[type[Exception], int], ...]] = (
    (NotGranted, 403),
    (AuthFailed, 401),
    (NoOperator, 409),
    (NoSuchAccount, 404),
    (AccountError, 409),
    (ActPending, 503),
    (ActRefused, 409),
    (StorageError, 503),
)


@dataclass(frozen=True)
class NavigationLink:
    """A page in the navigation."""

    path: str
    label: str
    role: Role


@dataclass(eq=False)
class Desk:
    """All that the pages of one console use.

    Attributes:
        boards: The boards of the game, by name, and whether players are on it.
        secure: Browsers reach it by TLS, so that cookies are sent by TLS alone.
        links: The navigation.
        issued_passwords: The new passwords of the last resets, by the id of the act, for a second click on the same form.
    """

    keeper: Keeper
    engine: Engine
    accounts: Accounts
    players: Players
    acts: Acts
    operators: Operators
    observed: ObservedServer
    history: History
    logins: ConsoleLogins
    first_link: FirstLink
    searches: Searches
    quarantine: Quarantine
    account_acts: AccountActs
    notes: Notes
    reports: Reports
    boards: Mapping[str, bool]
    config: Config
    secure: bool
    links: Sequence[NavigationLink] = field(default=())
    issued_passwords: dict[str, str] = field(default_factory=dict[str, str])

    @property
    def cookie(self) -> str:
        """The name of the cookie; the prefix has browsers bind it to this host and to TLS."""
        return "__Host-realmkeep" if self.secure else "realmkeep-console"


@dataclass(frozen=True)
class Visit:
    """One request.

    Attributes:
        desk: The console.
        request: The request.
        login: The login of its cookie; None without one.
        operator: The operator who is signed in; None if none is.
    """

    desk: Desk
    request: Request
    login: ConsoleLogin | None = None
    operator: Operator | None = None

    @property
    def by(self) -> Operator:
        """The operator; a page with a role is answered for operators alone."""
        assert self.operator is not None  # the route has a role
        return self.operator

    @property
    def role(self) -> Role:
        """The role of the operator."""
        return Role.of(self.by.role)

    @property
    def wants_part(self) -> bool:
        """Whether the page asks for a part of itself, and not the browser for a page."""
        return "hx-request" in self.request.headers

    def may(self, act: str) -> bool:
        """Whether the operator's role may do an act of `GRANTS`, whatever its size."""
        return self.role >= GRANTS[act]

    def at(self, path: str, *parts: object) -> str:
        """The path of a page, below the place where the console is mounted.

        Args:
            path: `/players/{}`.
            parts: One for each `{}`; each is quoted.
        """
        quoted = [quote(str(part), safe="") for part in parts]
        return f"{self.request.scope.get('root_path', '')}{path.format(*quoted)}"

    async def check_password(self, form: dict[str, str]) -> None:
        """Refuse an act unless the form has the operator's password, and its one-time code if it uses them.

        Raises:
            AuthFailed: It has not.
            StorageError: The store cannot be reached.
        """
        await self.desk.operators.authenticate(self.by.name, form.get("password", ""), form.get("code", ""))

    async def form(self) -> dict[str, str]:
        """The fields of the form that was sent.

        Raises:
            ActRefused: It is too long, too slow, or no form.
        """
        body = bytearray()
        try:
            async with self.desk.engine.clock.timeout(FORM_S):
                async for chunk in self.request.stream():
                    body += chunk
                    if len(body) > FORM_BYTES_MAX:
                        raise ActRefused(f"a form has {FORM_BYTES_MAX} bytes at most", hint="send less")
        except TimeoutError:
            raise ActRefused(f"the form did not arrive within {FORM_S:.0f} s", hint="send it again") from None
        try:
            pairs = parse_qsl(
                body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict", strict_parsing=False
            )
        except ValueError as error:
            raise ActRefused("this is no form", hint="send it from the page") from error
        return dict(pairs)

    def render(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """A page of the console's templates, or a part of one."""
        told = [] if self.login is None or self.wants_part else [*self.login.told]
        if self.login is not None and not self.wants_part:
            self.login.told.clear()
        links = [each for each in self.desk.links if self.operator is not None and self.role >= each.role]
        shown = TEMPLATES[template].render(
            visit=self,
            at=self.at,
            told=told,
            links=links,
            realm=self.desk.keeper.name,
            here=self.request.url.path.removeprefix(self.request.scope.get("root_path", "")),
            **values,
        )
        return HTMLResponse(shown, status)

    def page(self, title: str, body: str) -> Response:
        """A page of a game's own, inside the console's frame.

        Args:
            title: Its heading.
            body: `Markup` is shown as it is, any other text is escaped; `Markup("<p>{}</p>").format(text)` escapes `text`.
        """
        return self.render("own.html", title=title, body=body if isinstance(body, Markup) else Markup.escape(body))

    def redirect(self, path: str, *parts: object) -> Response:
        """Send the browser to another page of the console."""
        return RedirectResponse(self.at(path, *parts), 303)

    def tell(self, sentence: str, kind: str = "done") -> None:
        """Show a sentence on the operator's next page.

        Args:
            sentence: The sentence.
            kind: `done` or `refused`.
        """
        if self.login is not None:
            self.login.told.append((kind, sentence))

    def to_login(self) -> Response:
        """The answer to a request without an operator."""
        wanted = self.at("/login")
        if self.wants_part:
            return Response(status_code=401, headers={"HX-Redirect": wanted})
        if self.request.method == "GET" and (path := self._path()) != "/":
            wanted += f"?to={quote(path, safe='')}"
        return RedirectResponse(wanted, 303)

    def failed(self, error: RealmkeepError) -> Response:
        """The page for an error."""
        status = next((status for kind, status in STATUS if isinstance(error, kind)), 500)
        if status == 500:
            log.error("a page of the console failed: %s", error, exc_info=error)
        return self.render("failed.html", status=status, title="Not done", error=error)

    def _path(self) -> str:
        url = self.request.url
        path = url.path.removeprefix(self.request.scope.get("root_path", ""))
        return f"{path}?{url.query}" if url.query else path
