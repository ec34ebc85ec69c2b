"""A large gift waits for a second admin, who approves it on a page."""

import html
import re

from keeping.game import Player
from operations.console.asking import HASHED, Realm
from operations.operators.people import PASSWORD, audited
from realmkeep.keeping.keeper import engine_of
from realmkeep.keeping.unowned_records import UnownedRecords
from realmkeep.operations.operators.operator import Operator
from realmkeep.operations.operators.roles import Role

LARGE = "100001"


async def test_a_large_gift_is_asked_for_approved_by_another_admin_and_made_once(kept: Realm) -> None:
    session = await kept.lab.keeper.login(Player, 7, create=lambda: Player(name="Ada", gold=0))
    operators = UnownedRecords(Operator, engine_of(kept.lab.keeper).storage, clock=kept.lab.clock)
    await operators.create("bob", Operator(name="bob", role="admin", password_hash=HASHED))
    ann, bob = await kept.browser(Role.ADMIN), await kept.browser(None)
    assert (await bob.sign_in("bob")).status == 303
    assert "No act waits" in (await bob.get("/approvals")).text
    asked = await ann.post("/players/7/gift", {"thing": "gold", "amount": LARGE, "reason": "won a contest"})
    assert asked.status == 202
    assert session.record.gold == 0
    again = {name: html.unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', asked.text)}
    assert "another admin approves" in (await ann.get("/approvals")).text
    shown = (await bob.get("/approvals")).text
    assert "won a contest" in shown
    path = f"/approvals/{again['act_id']}"
    form = {"reason": "it is right", "password": PASSWORD}
    assert (await ann.post(path, form)).status == 409, "nobody approves their own act"
    assert (await bob.post(path, {**form, "password": "wrong"})).status == 401
    assert (await ann.post("/players/7/gift", again)).status == 202
    assert (await bob.post(path, form)).headers["location"] == "/approvals"
    for _ in range(2):
        assert (await ann.post("/players/7/gift", again)).status == 303
    assert session.record.gold == int(LARGE)
    assert [each.act for each in await audited(kept.lab)] == ["approve", "gift"]
    assert "No act waits" in (await bob.get("/approvals")).text
