"""Signing in and out, and the first operator of a realm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from realmkeep.errors import AuthFailed, NoOperator, OperatorError
from realmkeep.operations.console.logins import LASTS_S
from realmkeep.operations.operators.acts import new_act_id
from realmkeep.operations.operators.roles import Role

if TYPE_CHECKING:
    from starlette.responses import Response

    from realmkeep.operations.console.visit import Visit
    from realmkeep.operations.operators.operator import Operator

FIRST_REASON: Final = "the first operator, by the one-time link of the console"
GONE: Final = "This link has been used, or its hour is over. The server prints a new one when it starts."


async def show_login(visit: Visit) -> Response:
    """The form for name, password and code."""
    if visit.operator is not None:
        return visit.redirect("/")
    return visit.render("login.html", title="Sign in", refused="", name="", to=_inside(visit))


async def sign_in(visit: Visit) -> Response:
    """Sign an operator in.

    Raises:
        StorageError: The store cannot be reached.
    """
    form, to = await visit.form(), _inside(visit)
    name = form.get("name", "")
    try:
        operator = await visit.desk.operators.authenticate(name, form.get("password", ""), form.get("code", ""))
    except (AuthFailed, NoOperator) as error:
        refused = error.message if isinstance(error, AuthFailed) else f"{error.message}: {error.hint}"
        return visit.render("login.html", status=401, title="Sign in", refused=refused, name=name, to=to)
    return _signed_in(visit, operator, to)


async def sign_out(visit: Visit) -> Response:
    """Sign the operator out."""
    visit.desk.logins.end(visit.request.cookies.get(visit.desk.cookie, ""))
    answer = visit.redirect("/login")
    answer.delete_cookie(visit.desk.cookie, path="/", secure=visit.desk.secure, httponly=True, samesite="strict")
    return answer


async def show_first(visit: Visit) -> Response:
    """The form of the one-time link."""
    token = visit.request.path_params["token"]
    if not visit.desk.first_link.holds(token):
        return visit.render("first.html", status=410, title="The first operator", token="", refused=GONE, name="")
    return visit.render("first.html", title="The first operator", token=token, refused="", name="")


async def make_first(visit: Visit) -> Response:
    """Make the first operator, an admin, and sign it in.

    Raises:
        StorageError: The store cannot be reached.
    """
    desk, token = visit.desk, visit.request.path_params["token"]
    if not desk.first_link.holds(token):
        return await show_first(visit)
    form = await visit.form()
    name = form.get("name", "")
    if form.get("password") != form.get("again"):
        return _refused_first(visit, name, "the two passwords differ")
    try:
        await desk.operators.add(
            None, name, Role.ADMIN, form.get("password", ""), reason=FIRST_REASON, act_id=new_act_id()
        )
    except NoOperator:
        desk.first_link.end()
        return await show_first(visit)
    except (AuthFailed, OperatorError) as error:
        return _refused_first(visit, name, error.message)
    desk.first_link.end()
    return _signed_in(visit, await desk.operators.get(name), "/")


def _refused_first(visit: Visit, name: str, refused: str) -> Response:
    token = visit.request.path_params["token"]
    return visit.render("first.html", status=409, title="The first operator", token=token, refused=refused, name=name)


def _signed_in(visit: Visit, operator: Operator, to: str) -> Response:
    answer = visit.redirect("/")
    answer.headers["location"] = visit.at("/").removesuffix("/") + to
    answer.set_cookie(
        visit.desk.cookie,
        visit.desk.logins.begin(operator),
        max_age=int(LASTS_S),
        path="/",
        secure=visit.desk.secure,
        httponly=True,
        samesite="strict",
    )
    return answer


def _inside(visit: Visit) -> str:
    """The page that was asked for before the login; a path of the console, whatever the address says."""
    to = visit.request.query_params.get("to", "/")
    return to if to.startswith("/") and to.isascii() and to.isprintable() and not {"//", "/\\"} & {to[:2]} else "/"
