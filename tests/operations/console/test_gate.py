"""Which requests the console answers at all, and with which headers."""

import asyncio
import html
from functools import partial
from typing import Any

import pytest
from starlette.requests import Request

from operations.console.asking import HOST, HOSTILE, Browser, Realm, hostile_things, path_of
from realmkeep.errors import ActRefused
from realmkeep.operations.console.gate import POLICY, host_of
from realmkeep.operations.console.routes import ROUTES
from realmkeep.operations.console.visit import FORM_S, Visit
from realmkeep.operations.operators.roles import Role


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "evil.example:9465", "", "localhost, evil.example"]
)
async def test_a_name_that_is_not_the_consoles_is_refused(kept: Realm, host: str) -> None:
    """DNS rebinding: a web page's own host name resolves to 127.0.0.1."""
    browser = await kept.browser(Role.ADMIN)
    for route in ROUTES:
        asked = browser.get if route.method == "GET" else partial(browser.post, origin=f"http://{host}")
        assert (await asked(path_of(route), host=host)).status == 421, route.path


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9465", "127.0.0.1", "[::1]:9465"])
async def test_the_names_of_the_machine_are_answered(kept: Realm, host: str) -> None:
    assert (await Browser(kept.app).get("/login", host=host)).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site", "origin": "http://evil.example"},
        {"sec_fetch_site": "cross-site", "origin": ""},
        {"sec_fetch_site": "same-site", "origin": f"http://{HOST}"},
        {"sec_fetch_site": "none", "origin": ""},
        {"sec_fetch_site": "same-origin", "origin": "http://evil.example"},
        {"sec_fetch_site": "", "origin": "http://evil.example"},
        {"sec_fetch_site": "", "origin": "null"},
        {"sec_fetch_site": "", "origin": ""},
        {"sec_fetch_site": "", "origin": "http://127.0.0.1:1"},
    ],
)
async def test_a_change_that_no_page_of_the_console_sends_is_refused(kept: Realm, headers: dict[str, str]) -> None:
    browser = Browser(kept.app)
    assert (await browser.sign_in("admin")).status == 303
    signed_in = browser.cookie
    for path in [path_of(route) for route in ROUTES if route.method == "POST"]:
        assert (await browser.post(path, {"reason": "x"}, **headers)).status == 403
    browser.cookie = signed_in
    assert (await browser.get("/")).status == 200, "the forged logout changed nothing"


@pytest.mark.parametrize("headers", [{"sec_fetch_site": ""}, {"origin": ""}, {"origin": "null"}])
async def test_an_older_browser_is_known_by_its_origin_and_a_newer_one_by_its_site(
    kept: Realm, headers: dict[str, str]
) -> None:
    refused = headers == {"sec_fetch_site": "", "origin": "null"}
    browser = Browser(kept.app)
    answer = await browser.post("/login", {"name": "x", "password": "y"}, **headers)
    assert (answer.status == 403) is refused
    assert answer.status in (401, 403)


async def test_every_answer_forbids_scripts_frames_and_places_of_others(kept: Realm) -> None:
    browser = await kept.browser(Role.ADMIN)
    await hostile_things(kept.lab.keeper)
    for path in [*(path_of(route) for route in ROUTES if route.method == "GET"), "/nowhere"]:
        headers = (await browser.get(path)).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
    assert "unsafe" not in POLICY
    assert (await browser.get("/login", host="evil.example")).headers["content-security-policy"] == POLICY


async def test_a_hostile_name_is_text_on_every_page(kept: Realm) -> None:
    browser, shown = await kept.browser(Role.ADMIN), 0
    await hostile_things(kept.lab.keeper)
    for path in [
        *(path_of(route) for route in ROUTES if route.method == "GET"),
        f"/players?q={HOSTILE}",
        f"/{HOSTILE}",
    ]:
        text = (await browser.get(path)).text
        assert HOSTILE not in text, path
        shown += html.escape(HOSTILE) in text
    assert shown >= 4, "they are there: player, account, note, copy"


async def test_files_are_compressed_kept_by_browsers_and_no_other_file_is_sent(kept: Realm) -> None:
    browser = Browser(kept.app)
    plain = await browser.get("/static/x/htmx.min.js")
    packed = await browser.get("/static/x/htmx.min.js", accept_encoding="gzip, br")
    assert plain.headers["content-type"].startswith("text/javascript")
    assert "immutable" in plain.headers["cache-control"]
    assert len(packed.body) < len(plain.body) / 2
    for name in ("NOTICE.md", "../app.py", "..%2fapp.py", "nothing.js"):
        assert (await browser.get(f"/static/x/{name}")).status == 404


def test_the_host_of_an_authority() -> None:
    assert [host_of(each) for each in ("A.example:1", "[::1]:80", "[::1]", "a.example.")] == [
        "a.example",
        "[::1]",
        "[::1]",
        "a.example",
    ]


async def test_a_form_that_never_ends_is_refused(kept: Realm) -> None:
    async def receive() -> dict[str, Any]:
        return await asyncio.get_running_loop().create_future()

    request = Request({"type": "http", "method": "POST", "headers": []}, receive)
    form = asyncio.create_task(Visit(kept.app._desk, request).form())
    await kept.lab.advance(FORM_S + 1)
    assert form.done()
    with pytest.raises(ActRefused, match="did not arrive"):
        await form
