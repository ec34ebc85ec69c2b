"""A second admin approves erasures and large gifts, once the realm has two."""

import json
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from keeping.game import Player
from operations.operators.people import ADMIN, PASSWORD, PLAYERS, SUPPORT, audited
from realmkeep.config import BackupConfig, OperatorsConfig
from realmkeep.errors import ActRefused, ApprovalNeeded, NotGranted, OpReused
from realmkeep.operations.backup.holdings import Holdings
from realmkeep.operations.operators.acts import Acts
from realmkeep.operations.operators.operator import Operator
from realmkeep.operations.privacy.erasing import Erasing
from realmkeep.testing.lab import Lab

Run = Callable[..., tuple[int, str, str]]
BOB = Operator(name="bob", role="admin")


async def realm(lab: Lab, *admins: Operator) -> Acts:
    await (await lab.keeper.login(Player, 1, create=lambda: Player(name="Ada", gold=5))).logout()
    for each in admins:
        assert await lab.keeper.unowned(Operator).create(each.name, each)
    return Acts(lab.keeper, PLAYERS, OperatorsConfig(gift_alone_max=100))


def gold(lab: Lab) -> int:
    stored = lab.stored(Player, 1)
    assert stored is not None
    return stored.gold


async def test_a_large_gift_waits_for_another_admin_and_then_happens_once() -> None:
    async with Lab() as lab:
        acts = await realm(lab, ADMIN, BOB)
        await acts.gift(ADMIN, 1, "gold", 100, reason="small")
        for _ in range(2):
            with pytest.raises(ApprovalNeeded, match="a gift of 101 gold to rover:1 needs the approval"):
                await acts.gift(ADMIN, 1, "gold", 101, reason="a prize", act_id="one")
        assert gold(lab) == 105
        (request,) = await acts.approvals.pending(BOB)
        assert (request.operator, request.told, request.reason) == (
            "a-admin",
            "a gift of 101 gold to rover:1",
            "a prize",
        )
        with pytest.raises(ActRefused, match="a-admin has asked for it"):
            await acts.approvals.approve(ADMIN, "one", reason="me", approval_id="mine")
        with pytest.raises(NotGranted):
            await acts.approvals.approve(SUPPORT, "one", reason="me", approval_id="mine")
        with pytest.raises(ActRefused, match="waits for an approval"):
            await acts.approvals.approve(BOB, "two", reason="ok", approval_id="his")
        first = await acts.approvals.approve(BOB, "one", reason="ok", approval_id="his")
        assert await acts.approvals.approve(BOB, "one", reason="ok", approval_id="his") == first
        assert await acts.approvals.pending(BOB) == []
        with pytest.raises(OpReused):
            await acts.gift(ADMIN, 1, "gold", 102, reason="a prize", act_id="one")
        for _ in range(2):
            await acts.gift(ADMIN, 1, "gold", 101, reason="a prize", act_id="one")
        assert gold(lab) == 206
        assert [(each.operator, each.act) for each in await audited(lab)] == [
            ("a-admin", "gift"), ("bob", "approve"), ("a-admin", "gift"),
        ]  # fmt: skip


@pytest.mark.parametrize("other", [None, SUPPORT, msgspec.structs.replace(BOB, disabled=True)])
async def test_one_admin_acts_alone(other: Operator | None) -> None:
    async with Lab() as lab:
        acts = await realm(lab, ADMIN, *(() if other is None else (other,)))
        await acts.gift(ADMIN, 1, "gold", 101, reason="a prize")
        assert gold(lab) == 106


async def test_an_erasure_notes_nothing_before_it_is_approved(tmp_path: Path) -> None:
    async with Lab() as lab:
        acts = await realm(lab, ADMIN, BOB)
        holdings = Holdings((Player,), (), lambda _, __: None, players=Player)
        erasing = Erasing(lab.keeper, acts, holdings, BackupConfig(), tmp_path, archive=None)
        with pytest.raises(ApprovalNeeded, match="the erasure of rover:1"):
            await erasing.erase(ADMIN, "1", reason="asked to", act_id="one")
        assert not (tmp_path / "erasures.jsonl").exists()
        await acts.approvals.approve(BOB, "one", reason="ok", approval_id="his")
        await erasing.erase(ADMIN, "1", reason="asked to", act_id="one")
        assert lab.stored(Player, 1) is None


def test_the_commands_of_a_second_admin(run: Run, tmp_path: Path) -> None:
    new = ("--password-file", str(tmp_path / "password"), "--reason", "x", "--yes")
    assert PASSWORD in (tmp_path / "password").read_text()
    assert run("operator", "add", "bob", "--role", "admin", *new)[0] == 0
    gift = ("player", "gift", "7", "gold", "100001", "--id", "one", "--reason", "a prize", "--yes")
    code, _, err = run(*gift)
    assert (code, "realmkeep operator approve one" in err) == (75, True)
    assert run("operator", "requests", "--as", "sue")[0] == 1
    assert "one  ann: a gift of 100,001 gold to player:7 (a prize)" in run("operator", "requests", "--as", "bob")[1]
    assert json.loads(run("operator", "requests", "--json")[1])[0]["act"] == "gift"
    assert run("operator", "approve", "one", "--reason", "ok", "--yes")[0] == 1
    assert run("operator", "approve", "one", "--as", "bob", "--reason", "ok", "--yes")[0] == 0
    assert run(*gift)[0] == 0
