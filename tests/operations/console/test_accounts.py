"""Accounts at the console: the search, the page, and each act."""

import re

import pytest

from operations.console.asking import Browser, Realm
from operations.operators.people import PASSWORD, audited
from realmkeep.accounts.account import Account
from realmkeep.accounts.passwords import verify_password
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.operations.operators.roles import Role


async def account(kept: Realm, name: str, *characters: int | str) -> None:
    found = UnownedRecords(Account, engine_of(kept.lab.keeper).storage, clock=kept.lab.clock)
    assert await found.create(name, Account(username=name, character_ids=[*characters], password_hash="x"))


async def test_accounts_are_found_by_their_beginning_and_the_whole_name_comes_first(kept: Realm) -> None:
    for name in ("adam", "ada", "adalbert", "bob"):
        await account(kept, name, 7)
    browser = await kept.browser(Role.VIEWER)
    assert re.findall(r"/accounts/(\w+)", (await browser.get("/accounts?q=Ada")).text) == ["ada", "adam", "adalbert"]
    assert "No account begins with" in (await browser.get("/accounts?q=zoe")).text
    assert "New password" not in (await browser.get("/accounts/ada")).text, "a viewer has no buttons"
    assert (await browser.get("/accounts/zoe")).status == 409


async def test_an_account_is_locked_signed_out_and_banned_and_each_act_is_audited(kept: Realm) -> None:
    await account(kept, "ada", 7)
    browser = await kept.browser(Role.SUPPORT)
    for act in ("lock", "unlock", "sign-out"):
        answer = await browser.post(f"/accounts/ada/{act}", {"reason": "stolen"})
        assert (answer.status, answer.headers["location"]) == (303, "/accounts/ada")
        assert (await kept.accounts.account("ada")).locked == ("stolen" if act == "lock" else "")
        assert "Done: " in (await browser.get("/accounts/ada")).text
    ban = {"reason": "abuse", "days": "3", "typed": "ada"}
    assert (await browser.post("/accounts/ada/ban", {**ban, "typed": "bob"})).status == 409
    assert (await browser.post("/accounts/ada/ban", {**ban, "days": "30"})).status == 403
    assert (await browser.post("/accounts/ada/ban", ban)).status == 303
    assert (await kept.accounts.account("ada")).ban is not None
    assert (await browser.post("/accounts/ada/unban", {"reason": "mistaken"})).status == 303
    assert [each.act for each in await audited(kept.lab)] == ["lock", "unlock", "sign-out", "ban", "unban"]


async def test_a_new_password_is_shown_to_an_admin_who_confirms_and_a_second_click_shows_the_same(kept: Realm) -> None:
    await account(kept, "ada", 7)
    browser = await kept.browser(Role.ADMIN)
    shown = (await browser.get("/accounts/ada")).text
    act_id = re.findall(r'name="act_id" value="(\w{16})"', shown)[0]
    form = {"reason": "lost", "typed": "ada", "password": PASSWORD, "act_id": act_id}
    for wrong, status in (({"typed": "bob"}, 409), ({"password": "wrong"}, 401), ({"reason": ""}, 409)):
        assert (await browser.post("/accounts/ada/reset-password", {**form, **wrong})).status == status
    assert (await kept.accounts.account("ada")).password_hash == "x"
    first, second = [await _new_password(browser, form) for _ in range(2)]
    assert first == second
    assert verify_password(first, (await kept.accounts.account("ada")).password_hash)
    assert [each.act for each in await audited(kept.lab)] == ["reset-password"]


async def _new_password(browser: Browser, form: dict[str, str]) -> str:
    return re.findall(r"<pre>([a-z-]+)</pre>", (await browser.post("/accounts/ada/reset-password", form)).text)[0]


@pytest.mark.parametrize("name", ["zoe", "%00", "a:b", "x" * 200])
async def test_an_act_on_an_account_that_is_not_there_is_refused(kept: Realm, name: str) -> None:
    browser = await kept.browser(Role.SUPPORT)
    answer = await browser.post(f"/accounts/{name}/lock", {"reason": "x"})
    assert (answer.status, 'role="alert"' in answer.text) == (409, True)
    assert await audited(kept.lab) == []
