"""Logins at the console: passwords, one-time codes, times, and the first operator."""

import base64
from pathlib import Path
from urllib.parse import quote

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from operations.console.asking import Browser, Realm, realm
from operations.operators.people import PASSWORD, audited
from realmkeep.config import ConsoleConfig
from realmkeep.operations.console.logins import IDLE_S, LASTS_S, LOGINS_MAX, ConsoleLogins
from realmkeep.operations.operators.operator import Operator
from realmkeep.operations.operators.roles import Role
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.lab import Lab


async def test_a_page_asks_for_a_login_and_goes_on_where_it_was(kept: Realm) -> None:
    browser = Browser(kept.app)
    asked = await browser.get("/tiles?q=ada")
    assert (asked.status, asked.headers["location"]) == (303, "/login?to=%2Ftiles%3Fq%3Dada")
    form = {"name": "Viewer", "password": PASSWORD}
    entered = await browser.post(asked.headers["location"], form)
    assert (entered.status, entered.headers["location"]) == (303, "/tiles?q=ada")
    assert (await browser.get("/login")).headers["location"] == "/"
    assert (await browser.post("/logout")).headers["location"] == "/login"
    assert (await browser.get("/")).status == 303


@pytest.mark.parametrize("to", ["//evil.example", "/\\evil.example", "http://evil.example", "/a\nb", "x"])
async def test_a_login_leads_nowhere_else(kept: Realm, to: str) -> None:
    browser = Browser(kept.app)
    entered = await browser.post(f"/login?to={quote(to)}", {"name": "viewer", "password": PASSWORD})
    assert entered.headers["location"] == "/"


async def test_a_wrong_password_an_unknown_name_and_a_disabled_operator_get_one_answer(kept: Realm) -> None:
    browser = Browser(kept.app)
    await kept.operators.set_disabled(
        await kept.operators.get("admin"), "support", disabled=True, reason="x", act_id="d"
    )
    wrong = [
        await browser.sign_in("viewer", "wrong"),
        await browser.sign_in("nobody"),
        await browser.sign_in("support"),
    ]
    assert {answer.status for answer in wrong} == {401}
    assert (
        len({answer.text.replace("viewer", "").replace("nobody", "").replace("support", "") for answer in wrong}) == 1
    )
    assert browser.cookie == ""


async def test_a_one_time_code_is_asked_for_and_works_once(kept: Realm) -> None:
    admin = await kept.operators.get("admin")
    _, address = await kept.operators.set_totp(admin, "admin", wanted=True, reason="x", act_id="t")
    secret = base64.b32decode(address.partition("secret=")[2].partition("&")[0])
    code = TOTP(secret, 6, SHA1(), 30).generate(kept.lab.clock.wall_us() // 1_000_000).decode()
    assert (await Browser(kept.app).sign_in("admin")).status == 401
    assert (await Browser(kept.app).sign_in("admin", code=code)).status == 303
    assert (await Browser(kept.app).sign_in("admin", code=code)).status == 401


async def test_a_login_ends_after_half_an_hour_without_a_request(kept: Realm) -> None:
    browser = await kept.browser(Role.VIEWER)
    await kept.lab.advance(IDLE_S + 1)
    assert (await browser.get("/")).status == 303


async def test_a_login_ends_after_eight_hours_however_busy_it_is() -> None:
    clock = FakeClock()
    logins = ConsoleLogins(clock)
    token = logins.begin(Operator(name="ann", role="viewer"))
    for _ in range(16):
        await clock.advance(LASTS_S / 16)
        assert logins.find(token) is not None
    await clock.advance(1)
    assert logins.find(token) is None


@pytest.mark.parametrize("change", ["disabled", "password"])
async def test_a_disabled_operator_and_a_new_password_end_logins_within_two_seconds(kept: Realm, change: str) -> None:
    browser, admin = await kept.browser(Role.SUPPORT), await kept.operators.get("admin")
    if change == "disabled":
        await kept.operators.set_disabled(admin, "support", disabled=True, reason="x", act_id="d")
    else:
        await kept.operators.set_password(admin, "support", "another lantern over marsh", reason="x", act_id="d")
    await kept.lab.advance(2)
    assert (await browser.get("/")).status == 303


async def test_another_role_counts_within_two_seconds(kept: Realm) -> None:
    browser, admin = await kept.browser(Role.SUPPORT), await kept.operators.get("admin")
    assert '<small class="badge">support' in (await browser.get("/")).text
    await kept.operators.set_role(admin, "support", Role.VIEWER, reason="x", act_id="r")
    await kept.lab.advance(2)
    assert '<small class="badge">viewer' in (await browser.get("/")).text


async def test_cookies_are_for_this_host_alone_and_behind_tls_for_tls_alone(tmp_path: Path) -> None:
    async with Lab() as lab, realm(lab, tmp_path) as open_one:
        told = (await Browser(open_one.app).sign_in("viewer")).headers["set-cookie"]
        assert "HttpOnly" in told
        assert "SameSite=strict" in told
        assert "Secure" not in told
        assert "Domain" not in told
    async with Lab() as lab, realm(lab, tmp_path, settings=ConsoleConfig(behind_proxy=True)) as proxied:
        told = (await Browser(proxied.app).sign_in("viewer")).headers["set-cookie"]
        assert told.startswith("__Host-realmkeep=")
        assert "Secure" in told


def test_a_token_has_256_bits_and_is_not_kept() -> None:
    logins = ConsoleLogins(FakeClock())
    token = logins.begin(Operator(name="ann", role="viewer"))
    assert len(base64.urlsafe_b64decode(token + "=")) == 32
    assert token not in str(vars(logins))
    for _ in range(LOGINS_MAX):
        logins.begin(Operator(name="bob", role="viewer"))
    assert logins.find(token) is None, "the first of too many goes"


async def test_the_one_time_link_makes_the_first_operator_once(tmp_path: Path) -> None:
    async with Lab() as lab, realm(lab, tmp_path, operators=False) as kept:
        link = await kept.app.first_link()
        assert link is not None
        browser = Browser(kept.app)
        assert "no operators yet" in (await browser.sign_in("ann")).text
        assert (await browser.get("/first/wrong")).status == 410
        form = {"name": "Ann", "password": PASSWORD, "again": PASSWORD}
        assert "differ" in (await browser.post(link, {**form, "again": "other"})).text
        assert (await browser.post(link, {**form, "password": "short", "again": "short"})).status == 409
        assert (await browser.post("/first/wrong", form)).status == 410
        assert await kept.operators.list() == []
        assert (await browser.post(link, form)).headers["location"] == "/"
        assert "ann" in (await browser.get("/")).text
        assert [(each.name, each.role) for each in await kept.operators.list()] == [("ann", "admin")]
        assert [entry.operator for entry in await audited(lab)] == ["first"]
        assert (await browser.get(link)).status == 410
        assert (await browser.post(link, {**form, "name": "eve"})).status == 410
        assert await kept.app.first_link() is None


async def test_the_one_time_link_ends_after_an_hour_and_with_another_first_operator(tmp_path: Path) -> None:
    async with Lab() as lab, realm(lab, tmp_path, operators=False) as kept:
        late, link = await kept.app.first_link(), await kept.app.first_link()
        assert late is not None
        assert link is not None
        browser = Browser(kept.app)
        assert (await browser.get(late)).status == 410, "a new link ends the one before"
        await kept.operators.add(None, "bob", Role.ADMIN, PASSWORD, reason="x", act_id="1")
        form = {"name": "eve", "password": PASSWORD, "again": PASSWORD}
        assert (await browser.post(link, form)).status == 410
        assert [each.name for each in await kept.operators.list()] == ["bob"]
    async with Lab() as lab, realm(lab, tmp_path, operators=False) as kept:
        link = await kept.app.first_link()
        assert link is not None
        await lab.advance(3601)
        assert (await Browser(kept.app).get(link)).status == 410
