"""Each route of the table, asked as each role."""

import re

import pytest

from operations.console.asking import Realm
from realmkeep.operations.console.routes import ROUTES, ConsoleRoute
from realmkeep.operations.operators.roles import Role

AS = [None, *Role]
MATRIX = [(route, role) for route in ROUTES for role in AS]


def named(value: object) -> str:
    match value:
        case ConsoleRoute():
            return f"{value.method} {value.path}"
        case Role():
            return value.word
        case _:
            return "nobody"


@pytest.mark.parametrize(("route", "role"), MATRIX, ids=named)
async def test_a_route_is_answered_for_its_role_and_above(kept: Realm, route: ConsoleRoute, role: Role | None) -> None:
    browser, path = await kept.browser(role), re.sub(r"\{\w+\}", "1", route.path)
    answer = await (browser.get(path) if route.method == "GET" else browser.post(path))
    if route.role is None:
        assert answer.status in (200, 303, 401, 410)
    elif role is None:
        assert (answer.status, answer.headers["location"].partition("?")[0]) == (303, "/login")
    elif role < route.role:
        assert answer.status == 403
        assert f"This needs the role {route.role.word}" in answer.text
    else:
        assert answer.status not in (401, 403), answer.text
        assert answer.status < 500, answer.text


def test_only_the_ways_in_are_open_to_all_and_no_change_is_a_get() -> None:
    assert {route.path for route in ROUTES if route.role is None} == {"/login", "/first/{token}"}
    assert {route.method for route in ROUTES} == {"GET", "POST"}
