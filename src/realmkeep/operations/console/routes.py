"""The one table of the console's routes, each with the lowest role that may use it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from realmkeep.operations.console.pages import (
    accounts,
    approvals,
    boards,
    economy,
    entering,
    histories,
    overview,
    players,
    quarantine,
    servers,
    store,
    trails,
)
from realmkeep.operations.operators.roles import GRANTS, Role

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response

    from realmkeep.operations.console.visit import Visit


@dataclass(frozen=True)
class ConsoleRoute:
    """One route.

    Attributes:
        method: `GET` reads, `POST` changes.
        path: Its path, as Starlette writes it: `/players/{id}`.
        role: The lowest role that may use it; None: anyone, signed in or not.
        answer: Answers a request.
        label: Its name in the navigation; empty if it is not there.
    """

    method: str
    path: str
    role: Role | None
    answer: Callable[[Visit], Awaitable[Response]]
    label: str = ""


ROUTES: Final = (
    ConsoleRoute("GET", "/login", None, entering.show_login),
    ConsoleRoute("POST", "/login", None, entering.sign_in),
    ConsoleRoute("GET", "/first/{token}", None, entering.show_first),
    ConsoleRoute("POST", "/first/{token}", None, entering.make_first),
    ConsoleRoute("POST", "/logout", Role.VIEWER, entering.sign_out),
    ConsoleRoute("GET", "/", Role.VIEWER, overview.show_overview, "Overview"),
    ConsoleRoute("GET", "/tiles", Role.VIEWER, overview.show_tiles),
    ConsoleRoute("GET", "/series", Role.VIEWER, overview.send_series),
    ConsoleRoute("GET", "/players", GRANTS["find"], players.search, "Players"),
    ConsoleRoute("GET", "/players/{id}", GRANTS["show"], players.show),
    ConsoleRoute("GET", "/players/{id}/account", GRANTS["show"], players.find_account),
    ConsoleRoute("GET", "/players/{id}/history", GRANTS["history"], histories.show_history),
    ConsoleRoute("GET", "/players/{id}/history/entries", GRANTS["history"], histories.show_entries),
    ConsoleRoute("POST", "/players/{id}/note", GRANTS["note"], players.note),
    ConsoleRoute("POST", "/players/{id}/kick", GRANTS["kick"], players.kick),
    ConsoleRoute("POST", "/players/{id}/gift", GRANTS["gift"], players.gift),
    ConsoleRoute("POST", "/players/{id}/ban", GRANTS["ban"], players.ban),
    ConsoleRoute("POST", "/players/{id}/unban", GRANTS["unban"], players.unban),
    ConsoleRoute("POST", "/players/{id}/move", GRANTS["move"], players.move),
    ConsoleRoute("POST", "/players/{id}/release", GRANTS["release"], players.release),
    ConsoleRoute("POST", "/players/{id}/rename", GRANTS["rename"], players.rename),
    ConsoleRoute("POST", "/players/{id}/preview", GRANTS["edit"], players.preview),
    ConsoleRoute("POST", "/players/{id}/edit", GRANTS["edit"], players.edit),
    ConsoleRoute("GET", "/accounts", GRANTS["find"], accounts.search, "Accounts"),
    ConsoleRoute("GET", "/accounts/{name}", GRANTS["show"], accounts.show),
    ConsoleRoute("POST", "/accounts/{name}/ban", GRANTS["ban"], accounts.ban),
    ConsoleRoute("POST", "/accounts/{name}/unban", GRANTS["unban"], accounts.unban),
    ConsoleRoute("POST", "/accounts/{name}/lock", GRANTS["lock"], accounts.lock),
    ConsoleRoute("POST", "/accounts/{name}/unlock", GRANTS["unlock"], accounts.unlock),
    ConsoleRoute("POST", "/accounts/{name}/sign-out", GRANTS["sign-out"], accounts.sign_out),
    ConsoleRoute("POST", "/accounts/{name}/reset-password", GRANTS["reset-password"], accounts.reset_password),
    ConsoleRoute("GET", "/quarantine", GRANTS["show"], quarantine.show_list, "Quarantine"),
    ConsoleRoute("GET", "/quarantine/{key}", GRANTS["show"], quarantine.show),
    ConsoleRoute("POST", "/quarantine/{key}/judge", GRANTS["mend"], quarantine.judge),
    ConsoleRoute("POST", "/quarantine/{key}/mend", GRANTS["mend"], quarantine.mend),
    ConsoleRoute("POST", "/quarantine/{key}/discard", GRANTS["discard"], quarantine.discard),
    ConsoleRoute("GET", "/audit", GRANTS["read-audit"], trails.show_audit, "Audit"),
    ConsoleRoute("GET", "/backups", Role.VIEWER, trails.show_backups, "Backups"),
    ConsoleRoute("GET", "/boards", Role.VIEWER, boards.show_boards, "Boards"),
    ConsoleRoute("GET", "/boards/{board}", Role.VIEWER, boards.show_board),
    ConsoleRoute("POST", "/boards/{board}/end", GRANTS["end-season"], boards.end),
    ConsoleRoute("GET", "/approvals", GRANTS["approve"], approvals.show_approvals, "Approvals"),
    ConsoleRoute("POST", "/approvals/{act}", GRANTS["approve"], approvals.approve),
    ConsoleRoute("GET", "/economy", Role.VIEWER, economy.show_economy, "Economy"),
    ConsoleRoute("GET", "/economy/count", Role.VIEWER, economy.show_count),
    ConsoleRoute("POST", "/economy/count", GRANTS["count"], economy.start_count),
    ConsoleRoute("GET", "/servers", Role.VIEWER, servers.show_servers, "Servers"),
    ConsoleRoute("GET", "/store", Role.VIEWER, store.show_store, "Store"),
    ConsoleRoute("GET", "/store/reports", Role.VIEWER, store.show_reports),
    ConsoleRoute("POST", "/store/{report}", GRANTS["count"], store.start_report),
)
"""Every route of the console but its files. `app` enforces the roles; a test asks each route as each role."""
