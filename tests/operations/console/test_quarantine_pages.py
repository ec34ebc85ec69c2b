"""Records that cannot be used, at the console."""

import re
from urllib.parse import quote

import pytest

from keeping.game import Player
from operations.console.asking import Browser, Realm
from operations.operators.people import BROKEN, PASSWORD, audited
from realmkeep.errors import Quarantined
from realmkeep.keeping.keeper import engine_of
from realmkeep.operations.operators.roles import Role

GOOD = '{"version": 1, "name": "Zoe", "gold": 1}'


async def refused_login(kept: Realm) -> None:
    await engine_of(kept.lab.keeper).storage.save("rover:9", BROKEN)
    with pytest.raises(Quarantined):
        await kept.lab.keeper.login(Player, 9, create=Player)


async def form_of(browser: Browser, key: str = "rover:9") -> dict[str, str]:
    text = (await browser.get(f"/quarantine/{key}")).text
    hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', text))
    return {**hidden, "reason": "ticket 82", "typed": key, "password": PASSWORD}


async def test_a_refused_login_is_listed_shown_with_its_faults_and_mended(kept: Realm) -> None:
    await refused_login(kept)
    browser = await kept.browser(Role.ADMIN)
    listed = (await browser.get("/quarantine")).text
    assert "cannot be used" in listed
    assert "corrupt:rover:9:" in listed
    assert (await browser.get("/quarantine?q=rover:9")).headers["location"] == "/quarantine/rover%3A9"
    long = f"corrupt:rover:{'i' * 128}:{'0' * 16}"
    assert (await browser.get(f"/quarantine?q={long}")).headers["location"] == f"/quarantine/{quote(long, safe='')}"
    shown = (await browser.get("/quarantine/rover:9")).text
    assert "no checksum" in shown
    assert "&#34;gold&#34;:-1" in shown
    assert "50 bytes" in shown
    judged = (await browser.post("/quarantine/rover:9/judge", {"content": GOOD.replace("1}", "-1}")})).text
    assert "<code>gold</code> is <code>-1</code>" in judged
    assert "accepts" in (await browser.post("/quarantine/rover:9/judge", {"content": GOOD})).text
    form = {**await form_of(browser), "content": GOOD}
    for wrong, status in (({"typed": "rover:8"}, 409), ({"password": "wrong"}, 401), ({"digest": "0" * 16}, 409)):
        assert (await browser.post("/quarantine/rover:9/mend", {**form, **wrong})).status == status
    again = await browser.post("/quarantine/rover:9/mend", {**form, "content": GOOD.replace("1}", "-5}")})
    assert again.status == 409
    assert "-5}" in again.text, "the text that was typed is not lost"
    assert await audited(kept.lab) == []
    assert (await browser.post("/quarantine/rover:9/mend", form)).status == 303
    assert kept.lab.stored(Player, 9) == Player(name="Zoe", gold=1)
    assert "can be used by now" in (await browser.get("/quarantine")).text
    assert [each.act for each in await audited(kept.lab)] == ["mend"]


async def test_a_record_and_a_copy_are_discarded_by_an_admin_who_types_the_key(kept: Realm) -> None:
    await refused_login(kept)
    browser = await kept.browser(Role.ADMIN)
    copy = re.findall(r"<code>(corrupt:rover:9:\w+)</code>", (await browser.get("/quarantine")).text)[0]
    for key in (copy, "rover:9"):
        form = await form_of(browser, key)
        assert (await browser.post(f"/quarantine/{key}/discard", {**form, "typed": "9"})).status == 409
        assert (await browser.post(f"/quarantine/{key}/discard", {**form, "password": ""})).status == 401
        assert await engine_of(kept.lab.keeper).storage.exists(key)
        assert (await browser.post(f"/quarantine/{key}/discard", form)).headers["location"] == "/quarantine"
    assert not await engine_of(kept.lab.keeper).storage.exists("rover:9")
    assert [each.act for each in await audited(kept.lab)] == ["discard", "discard"]


async def test_a_viewer_sees_the_bytes_and_no_buttons(kept: Realm) -> None:
    await refused_login(kept)
    browser = await kept.browser(Role.VIEWER)
    shown = (await browser.get("/quarantine/rover:9")).text
    assert "no checksum" in shown
    assert "<textarea" not in shown
    assert (await browser.get("/quarantine/server:config")).status == 409
    assert (await browser.get("/quarantine/rover:1")).status == 409
