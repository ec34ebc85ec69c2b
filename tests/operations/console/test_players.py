"""Players at the console: the search, the page, and each act."""

import html
import re

import pytest

from keeping.game import Player
from operations.console.asking import Browser, Realm
from operations.operators.people import PASSWORD, audited
from realmkeep.accounts.account import Account
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.operations.operators.roles import Role

HOSTILE = "<script>alert(1)</script>\"'"


async def stored(kept: Realm, number: int, name: str, gold: int = 10) -> None:
    """A player who is in no game."""
    session = await kept.lab.keeper.login(Player, number, create=lambda: Player(name=name, gold=gold))
    await session.logout()


def in_store(kept: Realm) -> Player:
    found = kept.lab.stored(Player, 7)
    assert found is not None
    return found


async def account(kept: Realm, name: str, *characters: int | str) -> None:
    found = UnownedRecords(Account, engine_of(kept.lab.keeper).storage, clock=kept.lab.clock)
    assert await found.create(name, Account(username=name, character_ids=[*characters]))


async def test_a_search_shows_fifty_at_a_time_and_each_once(kept: Realm) -> None:
    for number in range(120):
        await account(kept, f"ada{number:03}", number)
    await account(kept, "bob", 500)
    browser = await kept.browser(Role.VIEWER)
    seen: list[str] = []
    for page in (0, 1, 2):
        text = (await browser.get(f"/players?q=ADA&page={page}")).text
        found = re.findall(r"<td>(ada\w+|bob)</td>", text)
        assert ("Next 50" in text) is (page < 2)
        assert ("Previous 50" in text) is (page > 0)
        seen += found
    assert (len(seen), len({*seen})) == (120, 120)
    assert "bob" not in seen


@pytest.mark.parametrize(
    "query", ["q=*", "q=a*", "q=[a", "q=ada:1", "q=%00", "q=x&page=-1", "q=x&page=99999999", "by=no"]
)
async def test_a_strange_search_finds_nothing_and_harms_nothing(kept: Realm, query: str) -> None:
    await account(kept, "ada", 1)
    browser = await kept.browser(Role.VIEWER)
    answer = await browser.get(f"/players?{query}")
    assert answer.status == 200
    assert "row-link" not in answer.text


async def test_a_player_is_shown_stored_and_live_with_what_only_memory_has(kept: Realm) -> None:
    await stored(kept, 7, "Ada")
    await account(kept, "ada", 7)
    browser = await kept.browser(Role.VIEWER)
    text = (await browser.get("/players/7")).text
    for word in ("Ada", ">stored<", "rover:7", "badge immediate", "ada", "0 waiting"):
        assert word in text, word
    session = await kept.lab.keeper.login(Player, 7, create=Player)
    session.record.xp = 4711
    text = (await browser.get("/players/7")).text
    assert "live here, connected" in text
    assert "4711" in text, "the store has it within 30 s"
    assert "changes on their way" in text
    assert "Kick" not in text, "a viewer has no buttons"
    assert (await browser.get("/players/8")).status == 409


async def test_names_are_text_wherever_they_stand(kept: Realm) -> None:
    await stored(kept, 7, HOSTILE)
    browser = await kept.browser(Role.ADMIN)
    for path in ("/players/7", f"/players?q={HOSTILE}", "/players/%3Cscript%3E"):
        text = (await browser.get(path)).text
        assert "<script>alert" not in text
    assert html.escape(HOSTILE, quote=False).partition('"')[0] in (await browser.get("/players/7")).text


async def test_a_kick_a_gift_and_a_ban_are_done_told_and_audited(kept: Realm) -> None:
    await stored(kept, 7, "Ada")
    await account(kept, "ada", 7)
    session = await kept.lab.keeper.login(Player, 7, create=Player)
    browser = await kept.browser(Role.SUPPORT)
    act_id = re.findall(r'name="act_id" value="(\w{16})"', (await browser.get("/players/7")).text)[0]
    form = {"reason": "lost in a bug", "thing": "gold", "amount": "40", "act_id": act_id}
    for _ in range(2):  # a second click
        assert (await browser.post("/players/7/gift", form)).headers["location"] == "/players/7"
    assert session.record.gold == 50
    assert "Done: given 40 gold" in (await browser.get("/players/7")).text
    assert "Done:" not in (await browser.get("/players/7")).text, "it is told once"
    assert (await browser.post("/players/7/kick", {"reason": "stuck"})).status == 303
    assert not session.connected
    ban = {"reason": "abuse", "days": "3", "typed": "7"}
    assert (await browser.post("/players/7/ban", {**ban, "typed": "8"})).status == 409
    assert (await browser.post("/players/7/ban", {**ban, "days": "30"})).status == 403
    assert (await browser.post("/players/7/ban", {**ban, "days": "inf"})).status == 409
    assert (await browser.post("/players/7/ban", ban)).status == 303
    assert (await kept.accounts.account("ada")).ban is not None
    assert (await browser.post("/players/7/unban", {"reason": "mistaken"})).status == 303
    assert [(each.operator, each.act) for each in await audited(kept.lab)] == [
        ("support", each) for each in ("gift", "kick", "ban", "unban")
    ]
    shown = (await browser.get("/audit")).text
    assert shown.index("mistaken") < shown.index("lost in a bug")


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"amount": "5"}, 409),
        ({"amount": "0", "reason": "x"}, 409),
        ({"amount": "-5", "reason": "x"}, 409),
        ({"amount": "1e9", "reason": "x"}, 409),
        ({"amount": "5", "reason": "x", "thing": "swords"}, 409),
        ({"amount": "5000", "reason": "x"}, 403),
    ],
)
async def test_an_act_that_is_refused_changes_nothing_and_says_why(
    kept: Realm, form: dict[str, str], status: int
) -> None:
    await stored(kept, 7, "Ada")
    browser = await kept.browser(Role.SUPPORT)
    answer = await browser.post("/players/7/gift", {"thing": "gold", **form})
    assert answer.status == status
    assert 'role="alert"' in answer.text
    assert in_store(kept).gold == 10
    assert await audited(kept.lab) == []


async def edit_form(browser: Browser, field: str, value: str) -> dict[str, str]:
    """The form of a preview, filled in."""
    shown = (await browser.post("/players/7/preview", {"field": field, "value": value})).text
    hidden = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', shown)
    return {name: html.unescape(text) for name, text in hidden} | {"reason": "x", "typed": "7", "password": PASSWORD}


async def test_an_edit_is_previewed_checked_and_made_for_the_value_that_was_shown(kept: Realm) -> None:
    await stored(kept, 7, "Ada")
    browser = await kept.browser(Role.ADMIN)
    shown = (await browser.post("/players/7/preview", {"field": "gold", "value": "500"})).text
    assert "<del>10</del><ins>500</ins>" in shown
    assert (await browser.post("/players/7/preview", {"field": "gold", "value": "-1"})).status == 409
    assert (await browser.post("/players/7/preview", {"field": "nothing", "value": "1"})).status == 409
    form = await edit_form(browser, "gold", "500")
    assert (await browser.post("/players/7/edit", {**form, "password": "wrong"})).status == 401
    assert (await browser.post("/players/7/edit", {**form, "typed": "8"})).status == 409
    assert in_store(kept).gold == 10
    assert (await browser.post("/players/7/edit", form)).status == 303
    assert in_store(kept).gold == 500
    assert (await browser.post("/players/7/edit", {**form, "act_id": "0" * 16})).status == 409, "it is 500 by now"
    assert (await browser.post("/players/7/edit", await edit_form(browser, "name", "Ada II"))).status == 303
    assert in_store(kept).name == "Ada II"


async def test_the_backups_are_listed(kept: Realm) -> None:
    browser = await kept.browser(Role.VIEWER)
    assert "There is no backup" in (await browser.get("/backups")).text


async def test_a_player_is_moved_renamed_released_and_noted(kept: Realm) -> None:
    await stored(kept, 7, "Ada")
    await account(kept, "ada", 7)
    session = await kept.lab.keeper.login(Player, 7, create=Player)
    browser = await kept.browser(Role.ADMIN)
    assert (await browser.post("/players/7/move", {"place": "4", "reason": "stuck"})).status == 303
    assert session.record.x == 4
    rename = {"name": "Adelaide", "reason": "asked for it", "typed": "7", "account": "ada"}
    assert (await browser.post("/players/7/rename", {**rename, "typed": "ada"})).status == 409
    assert (await browser.post("/players/7/rename", rename)).status == 303
    assert (await kept.accounts.account("adelaide")).character_ids == [7]
    assert (await browser.post("/players/7/release", {"reason": "stuck"})).status == 303
    assert session.ended
    for text in ("first", "second <b>"):
        assert (await browser.post("/players/7/note", {"text": text})).status == 303
    assert (await browser.post("/players/7/note", {"text": " "})).status == 409
    assert (await browser.post("/players/8/note", {"text": "x"})).status == 409
    shown = (await browser.get("/players/7")).text
    assert shown.index("second &lt;b&gt;") < shown.index("first")
    assert [each.act for each in await audited(kept.lab)] == ["move", "rename", "release", "note", "note"]


async def test_an_account_of_another_name_is_looked_for_and_acts_name_it(kept: Realm) -> None:
    await stored(kept, 7, "Ada")
    for number in range(3):
        await account(kept, f"other{number}", number)
    await account(kept, "lovelace", 70, 7)
    browser = await kept.browser(Role.ADMIN)
    assert "Look for its account" in (await browser.get("/players/7")).text
    ban = {"reason": "x", "days": "3", "typed": "7"}
    assert (await browser.post("/players/7/ban", ban)).status == 409, "no account is known"
    assert (await browser.post("/players/7/ban", {**ban, "account": "other0"})).status == 409, "that of another player"
    found = (await browser.get("/players/7/account")).text
    assert re.findall(r"account=(\w+)", found) == ["lovelace"]
    assert "Look for its account" not in (await browser.get("/players/7?account=lovelace")).text
    assert (await browser.post("/players/7/ban", {**ban, "account": "lovelace"})).status == 303
    assert (await kept.accounts.account("lovelace")).ban is not None
    assert "No account has this player" in (await browser.get("/players/8/account")).text
