"""Roles of operators, and the one table of the acts that each role may do."""

from __future__ import annotations

from enum import IntEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from realmkeep.errors import NotGranted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realmkeep.operations.operators.operator import Operator

DAY_S: Final = 24 * 3600
SUPPORT_BAN_S_MAX: Final = 7 * DAY_S  # a longer ban is a decision of an admin


class Role(IntEnum):
    """The role of an operator; a higher one may do all that a lower one may."""

    VIEWER = 1
    """Reads."""
    SUPPORT = 2
    """Helps players: kicks, short bans, small gifts, sign-outs."""
    ADMIN = 3
    """Changes records and accounts, and names operators."""

    @property
    def word(self) -> str:
        """Its name as it is typed."""
        return self.name.lower()

    @classmethod
    def of(cls, word: str) -> Role:
        """The role of this name; a stored one that no release knows is the lowest."""
        return next((role for role in cls if role.word == word), cls.VIEWER)


GRANTS: Final[Mapping[str, Role]] = MappingProxyType(
    {
        "find": Role.VIEWER,
        "show": Role.VIEWER,
        "history": Role.VIEWER,
        "read-audit": Role.VIEWER,
        "count": Role.SUPPORT,
        "note": Role.SUPPORT,
        "kick": Role.SUPPORT,
        "release": Role.SUPPORT,
        "move": Role.SUPPORT,
        "gift": Role.SUPPORT,
        "ban": Role.SUPPORT,
        "unban": Role.SUPPORT,
        "sign-out": Role.SUPPORT,
        "lock": Role.SUPPORT,
        "unlock": Role.SUPPORT,
        "rename": Role.ADMIN,
        "reset-password": Role.ADMIN,
        "mend": Role.ADMIN,
        "export": Role.ADMIN,
        "erase": Role.ADMIN,
        "approve": Role.ADMIN,
        "discard": Role.ADMIN,
        "end-season": Role.ADMIN,
        "edit": Role.ADMIN,
        "add-operator": Role.ADMIN,
        "change-operator": Role.ADMIN,
    }
)
"""Act to the lowest role that may do it. Commands and console ask `check_grant`; no other code decides on a role."""


def check_grant(operator: Operator, act: str, *, amount: float = 0, support_max: float | None = None) -> None:
    """Refuse an act that the operator's role may not do.

    Args:
        operator: The operator.
        act: A key of `GRANTS`.
        amount: Its size: seconds of a ban, the amount of a gift; infinity for a ban without an end.
        support_max: The largest amount below the role of an admin; None: any.

    Raises:
        NotGranted: The role is too low for the act, or for its size.
    """
    role, needed = Role.of(operator.role), GRANTS[act]
    if role < needed:
        raise NotGranted(
            f"{operator.name} is {role.word}, and {act!r} needs the role {needed.word}",
            hint=f"ask an operator with the role {needed.word}",
        )
    if support_max is not None and amount > support_max and role < Role.ADMIN:
        raise NotGranted(
            f"{act!r} of {amount:,.0f} is beyond the {support_max:,.0f} of the role {role.word}", hint="ask an admin"
        )
