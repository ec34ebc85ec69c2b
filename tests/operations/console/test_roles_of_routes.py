"""Each route of the table, asked as each role."""

import pytest

from operations.console.asking import Realm, path_of
from realmkeep.operations.console.routes import ROUTES, ConsoleRoute
from realmkeep.operations.operators.roles import Role


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_a_route_is_answered_for_its_role_and_above(kept: Realm, route: ConsoleRoute) -> None:
    for role in (None, *Role):
        browser, path = await kept.browser(role), path_of(route)
        answer = await (browser.get(path) if route.method == "GET" else browser.post(path))
        if route.role is None:
            assert answer.status in (200, 303, 401, 410)
        elif role is None:
            assert (answer.status, answer.headers["location"].partition("?")[0]) == (303, "/login")
        elif role < route.role:
            assert answer.status == 403
            assert f"This needs the role {route.role.word}" in answer.text
        else:
            assert answer.status not in (401, 403) or "the password or the code is wrong" in answer.text, answer.text
            assert answer.status < 500, answer.text


def test_only_the_ways_in_are_open_to_all_and_no_change_is_a_get() -> None:
    assert {route.path for route in ROUTES if route.role is None} == {"/login", "/first/{token}"}
    assert {route.method for route in ROUTES} == {"GET", "POST"}
