"""Bans of accounts: every login is refused, and servers end the sessions within two seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep.operations.operators.roles import SUPPORT_BAN_S_MAX, check_grant

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from realmkeep.accounts.admin import AccountAdmin, Beside
    from realmkeep.operations.operators.operator import Operator


def check_ban(by: Operator, lasts_s: float | None) -> None:
    """Refuse a ban that the operator's role may not do.

    Args:
        by: The operator.
        lasts_s: Its seconds; None: until it is lifted.

    Raises:
        NotGranted: The role is too low, or the ban too long for it.
    """
    check_grant(by, "ban", amount=float("inf") if lasts_s is None else lasts_s, support_max=SUPPORT_BAN_S_MAX)


def banning(
    accounts: AccountAdmin, username: str, reason: str, until_s: int | None
) -> Callable[[Beside], Awaitable[None]]:
    """The change that bans an account, for `Acts.on_account`.

    Args:
        accounts: The accounts.
        username: The account.
        reason: For the operators.
        until_s: The end of the ban, in seconds since the Unix epoch; None: until it is lifted.
    """

    async def change(beside: Beside) -> None:
        await accounts.ban(username, reason, until_s=until_s, beside=beside)

    return change


def unbanning(accounts: AccountAdmin, username: str) -> Callable[[Beside], Awaitable[None]]:
    """The change that lifts a ban."""

    async def change(beside: Beside) -> None:
        await accounts.lift_ban(username, beside=beside)

    return change
