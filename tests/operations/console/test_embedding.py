"""The console inside a server of a game's own, as `docs/console.md` shows it."""

import re
from pathlib import Path
from typing import Any

import pytest

from operations.console.asking import Browser, Realm, hostile_things, path_of
from operations.operators.people import PASSWORD, PLAYERS
from realmkeep.operations.console.routes import ROUTES

PAGE = Path(__file__).parents[3] / "docs" / "console.md"
NAME = "ops.example.com"
LINES_MAX = 10  # of a page of a game's own, with its mount


@pytest.fixture
def example() -> dict[str, Any]:
    """The names of the example on the page, which is run as it stands."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    made: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), made)
    own = [line for line in code[code.index("async def weather") :].splitlines() if line.strip()]
    assert len(own) <= LINES_MAX
    return made


async def test_a_mounted_console_stays_below_its_place_and_has_the_page_of_the_game(
    kept: Realm, example: dict[str, Any]
) -> None:
    await hostile_things(kept.lab.keeper)
    browser = Browser(example["web"](kept.lab.keeper, kept.accounts, PLAYERS), headers={"host": NAME})
    asked = await browser.get("/console/weather")
    assert asked.headers["location"] == "/console/login?to=%2Fweather"
    form = {"name": "admin", "password": PASSWORD}
    entered = await browser.post(asked.headers["location"], form, origin=f"http://{NAME}")
    assert entered.headers["location"] == "/console/weather"
    shown = (await browser.get("/console/weather")).text
    assert "<p>Wind: 3 m/s, for admin</p>" in shown
    assert '<a href="/console/weather" aria-current="page">Weather</a>' in shown
    for route in ROUTES:
        if route.method != "GET":
            continue
        text = (await browser.get(f"/console{path_of(route)}")).text
        places = re.findall(r'(?:href|src|action|hx-get|hx-post|data-series)="([^"#]+)"', text)
        assert [each for each in places if not each.startswith("/console/")] == [], route.path
    assert (await browser.get("/console/", host="127.0.0.1")).status == 421, "it answers to the names that it was given"
