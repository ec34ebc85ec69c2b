"""A role decides in one table, and every act asks it first."""

import inspect
from typing import Any

import pytest

from operations.operators.people import ADMIN, SUPPORT, VIEWER, acts_at
from realmkeep.errors import ActRefused, NotGranted
from realmkeep.operations.operators.acts import Acts
from realmkeep.operations.operators.operator import Operator
from realmkeep.operations.operators.roles import GRANTS, Role, check_grant
from realmkeep.testing.lab import Lab

GIVEN: dict[str, tuple[Any, ...]] = {
    "find": ("ada",),
    "show": (1,),
    "audit": (),
    "preview_edit": (1, "gold", 5),
    "edit": (1, "gold", 5),
    "gift": (1, "gold", 5),
    "move": (1, "5"),
    "kick": (1,),
    "release": (1,),
    "ban": (1,),
    "unban": (1,),
    "rename": (1, "Lovelace"),
}
WORDS = {"audit": "read-audit", "preview_edit": "edit"}


@pytest.mark.parametrize("act", sorted(GRANTS))
def test_a_role_may_do_the_acts_of_its_own_and_of_lower_roles(act: str) -> None:
    for operator in (VIEWER, SUPPORT, ADMIN):
        if Role.of(operator.role) >= GRANTS[act]:
            check_grant(operator, act)
        else:
            with pytest.raises(NotGranted, match="needs the role"):
                check_grant(operator, act)


def acts() -> list[str]:
    """The public functions of `Acts` whose first argument is an operator."""
    found = inspect.getmembers(Acts, inspect.isfunction)
    return [
        name
        for name, function in found
        if not name.startswith(("_", "on_")) and list(inspect.signature(function).parameters)[1:2] == ["by"]
    ]


async def do(acts: Acts, name: str, by: Operator) -> None:
    function, reason = getattr(acts, name), {"reason": "a test"}
    takes_reason = "reason" in inspect.signature(function).parameters
    result: Any = function(by, *GIVEN[name], **(reason if takes_reason else {}))
    if hasattr(result, "__aiter__"):
        found: list[Any] = [each async for each in result]
        assert found == []
    else:
        await result


async def test_every_act_asks_for_the_grant_before_it_looks_at_anything() -> None:
    assert sorted(GIVEN) == acts()
    async with Lab() as lab:
        for name in acts():
            needed = GRANTS[WORDS.get(name, name)]
            for operator in (VIEWER, SUPPORT, ADMIN):
                if Role.of(operator.role) < needed:
                    with pytest.raises(NotGranted):
                        await do(acts_at(lab.keeper), name, operator)
                elif name not in {"find", "audit"}:
                    with pytest.raises((ActRefused, NotGranted), match=r"no rover|beyond"):  # no such player
                        await do(acts_at(lab.keeper), name, operator)


def test_the_size_of_a_support_act_has_a_cap() -> None:
    check_grant(SUPPORT, "gift", amount=100, support_max=100)
    check_grant(ADMIN, "gift", amount=101, support_max=100)
    with pytest.raises(NotGranted, match="beyond"):
        check_grant(SUPPORT, "gift", amount=101, support_max=100)


async def test_support_bans_for_a_week_and_gives_up_to_the_cap() -> None:
    async with Lab() as lab:
        acts = acts_at(lab.keeper, gift_max=100)
        week = 7 * 86_400
        for too_much in (acts.ban(SUPPORT, 1, reason="x", lasts_s=week + 1), acts.ban(SUPPORT, 1, reason="x")):
            with pytest.raises(NotGranted, match="beyond"):
                await too_much
        with pytest.raises(NotGranted, match="beyond"):
            await acts.gift(SUPPORT, 1, "gold", 101, reason="x")
        with pytest.raises(ActRefused, match="no rover"):
            await acts.ban(SUPPORT, 1, reason="x", lasts_s=week)


def test_an_unknown_stored_role_is_the_lowest() -> None:
    with pytest.raises(NotGranted):
        check_grant(Operator(name="eve", role="emperor"), "kick")
