"""Accounts of operators: passwords, the throttle, one-time codes, and the last admin."""

import base64

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from operations.operators.people import PASSWORD, SUPPORT, audited, operators_of
from realmkeep.errors import ActRefused, AuthFailed, NoOperator, NotGranted, OpReused
from realmkeep.keys import server_throttle
from realmkeep.operations.operators.operator import Operator
from realmkeep.operations.operators.roles import Role
from realmkeep.testing.lab import Lab


async def first(lab: Lab, name: str = "Ann") -> Operator:
    await operators_of(lab).add(None, name, Role.ADMIN, PASSWORD, reason="first", act_id="1")
    return await operators_of(lab).authenticate(name, PASSWORD)


async def test_the_first_operator_is_an_admin_and_the_others_are_added_by_one() -> None:
    async with Lab() as lab:
        book = operators_of(lab)
        with pytest.raises(NoOperator, match="no operators yet"):
            await book.authenticate("ann", PASSWORD)
        with pytest.raises(ActRefused, match="is an admin"):
            await book.add(None, "ann", Role.SUPPORT, PASSWORD, reason="x", act_id="0")
        ann = await first(lab)
        with pytest.raises(NoOperator, match="operators already"):
            await book.add(None, "eve", Role.ADMIN, PASSWORD, reason="x", act_id="2")
        with pytest.raises(NotGranted):
            await book.add(SUPPORT, "eve", Role.ADMIN, PASSWORD, reason="x", act_id="3")
        await book.add(ann, "bob", Role.SUPPORT, PASSWORD, reason="new", act_id="4")
        assert [(each.name, each.role) for each in await book.list()] == [("ann", "admin"), ("bob", "support")]
        assert [(e.operator, e.act, e.target) for e in await audited(lab)] == [
            ("first", "add-operator", "operator:ann"),
            ("ann", "add-operator", "operator:bob"),
        ]


@pytest.mark.parametrize(
    ("name", "password", "error"),
    [
        ("ann", PASSWORD, "already"),
        ("a b", PASSWORD, "no name"),
        ("x" * 33, PASSWORD, "no name"),
        ("new", "short", "short"),
    ],
)
async def test_a_name_or_a_password_is_refused(name: str, password: str, error: str) -> None:
    async with Lab() as lab:
        ann = await first(lab)
        with pytest.raises((ActRefused, AuthFailed), match=error):
            await operators_of(lab).add(ann, name, Role.VIEWER, password, reason="x", act_id="2")
        assert len(await audited(lab)) == 1


async def test_a_wrong_password_and_an_unknown_name_get_one_answer_and_are_throttled_in_the_store() -> None:
    async with Lab() as lab:
        await first(lab)
        answers: set[str] = set()
        for name in ("ann", "nemo"):
            with pytest.raises(AuthFailed) as refused:
                await operators_of(lab).authenticate(name, "wrong lantern over marsh")
            answers.add(refused.value.message)
        assert len(answers) == 1
        for _ in range(4):
            with pytest.raises(AuthFailed):
                await operators_of(lab).authenticate("ann", "wrong lantern over marsh")
        assert lab.store.value(server_throttle("operator-logins", "accounts"))
        with pytest.raises(AuthFailed) as throttled:  # another process counts on
            await operators_of(lab).authenticate("ann", PASSWORD)
        assert throttled.value.reason == "throttled"
        await lab.advance(throttled.value.retry_after_s)
        assert (await operators_of(lab).authenticate("ann", PASSWORD)).name == "ann"


async def test_a_one_time_code_is_needed_and_works_once() -> None:
    async with Lab() as lab:
        ann = await first(lab)
        book = operators_of(lab)
        _, address = await book.set_totp(ann, "ann", wanted=True, reason="own", act_id="2")
        secret = address.partition("secret=")[2].partition("&")[0]
        totp = TOTP(base64.b32decode(secret), 6, SHA1(), 30)
        with pytest.raises(AuthFailed):
            await book.authenticate("ann", PASSWORD)
        code = totp.generate(lab.clock.wall_us() // 1_000_000).decode()
        assert (await book.authenticate("ann", PASSWORD, code)).name == "ann"
        with pytest.raises(AuthFailed):
            await book.authenticate("ann", PASSWORD, code)
        await lab.advance(30)
        former = totp.generate(lab.clock.wall_us() // 1_000_000 - 30).decode()
        with pytest.raises(AuthFailed):  # its step was used
            await book.authenticate("ann", PASSWORD, former)
        await book.set_totp(ann, "ann", wanted=False, reason="own", act_id="3")
        assert (await book.authenticate("ann", PASSWORD)).totp_secret == ""


async def test_a_disabled_operator_cannot_log_in_and_the_last_admin_stays() -> None:
    async with Lab() as lab:
        ann = await first(lab)
        book = operators_of(lab)
        await book.add(ann, "bob", Role.ADMIN, PASSWORD, reason="x", act_id="2")
        await book.set_disabled(ann, "bob", disabled=True, reason="left", act_id="3")
        with pytest.raises(AuthFailed):
            await book.authenticate("bob", PASSWORD)
        for change in (
            book.set_role(ann, "ann", Role.VIEWER, reason="x", act_id="4"),
            book.set_disabled(ann, "ann", disabled=True, reason="x", act_id="5"),
        ):
            with pytest.raises(ActRefused, match="last admin"):
                await change
        await book.set_disabled(ann, "bob", disabled=False, reason="back", act_id="6")
        await book.set_role(ann, "ann", Role.VIEWER, reason="tired", act_id="7")
        with pytest.raises(NoOperator, match="no operator 'nemo'"):
            await book.get("nemo")


async def test_an_operator_changes_its_own_password_and_not_its_role() -> None:
    async with Lab() as lab:
        ann = await first(lab)
        book = operators_of(lab)
        await book.add(ann, "bob", Role.VIEWER, PASSWORD, reason="x", act_id="2")
        bob = await book.authenticate("bob", PASSWORD)
        await book.set_password(bob, "bob", "other lantern over marsh", reason="own", act_id="3")
        assert (await book.authenticate("bob", "other lantern over marsh")).role == "viewer"
        for change in (
            book.set_password(bob, "ann", "other lantern over marsh", reason="x", act_id="4"),
            book.set_role(bob, "bob", Role.ADMIN, reason="x", act_id="5"),
        ):
            with pytest.raises(NotGranted):
                await change


async def test_an_act_on_operators_happens_once() -> None:
    async with Lab() as lab:
        ann = await first(lab)
        book = operators_of(lab)
        added = await book.add(ann, "bob", Role.VIEWER, PASSWORD, reason="x", act_id="2")
        assert await book.add(ann, "bob", Role.VIEWER, PASSWORD, reason="x", act_id="2") == added
        with pytest.raises(OpReused):
            await book.set_role(ann, "bob", Role.ADMIN, reason="x", act_id="2")
        assert len(await audited(lab)) == 2
