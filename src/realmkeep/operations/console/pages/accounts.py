"""Accounts: the search, one account, and the acts on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

from realmkeep.accounts import fold_username
from realmkeep.errors import ActRefused, RealmkeepError
from realmkeep.operations.console.forms import act_id, asked, check_typed, done
from realmkeep.operations.console.looking import ids_beginning, is_stored
from realmkeep.operations.console.searches import GLANCE_S, LOOK_S
from realmkeep.operations.operators.account_acts import new_password
from realmkeep.operations.operators.acts import new_act_id
from realmkeep.operations.operators.roles import DAY_S, SUPPORT_BAN_S_MAX, Role

if TYPE_CHECKING:
    from starlette.responses import Response

    from realmkeep.operations.console.visit import Visit
    from realmkeep.operations.operators.operator import Operator
    from realmkeep.operations.operators.orders import Outcome

BAN_DAYS: Final = (1, 3, 7, 30, 365)
FOR_EVER: Final = "for ever"
PASSWORDS_MAX: Final = 16  # new passwords that a second click on the same form shows again


async def search(visit: Visit) -> Response:
    """Accounts by the beginning of their names, fifty at a time.

    Raises:
        StorageError: The store cannot be reached.
    """
    page = asked(visit)
    text = fold_username(page.text)
    names, more, looking = await found_accounts(visit, text)
    rows = await asyncio.gather(*(_row(visit, name) for name in names))  # read in one turn
    return visit.render(
        "accounts.html", title="Accounts", q=page.text, rows=rows, number=page.number, more=more, looking=looking
    )


async def found_accounts(visit: Visit, text: str) -> tuple[list[str], bool, bool]:
    """As `found_ids`, of accounts.

    Raises:
        StorageError: The store cannot be reached.
    """
    return await found_ids(visit, "account", "account", text)


async def found_ids(visit: Visit, kind: str, role: str, text: str, *, suffix: str = "") -> tuple[list[str], bool, bool]:
    """The ids on the page that was asked for, whether there is a next page, and whether the search goes on.

    Args:
        visit: The visit.
        kind: The kind of the keys.
        role: Their role, as `keys.parse` names it.
        text: The beginning of the ids; an id that is equal to it comes first.
        suffix: The suffix of the keys.

    Raises:
        StorageError: The store cannot be reached.
    """
    page, storage = asked(visit), visit.desk.engine.storage
    if not text or ":" in text:
        return [], False, False
    key = f"{kind}:{text}:{suffix}" if suffix else f"{kind}:{text}"
    exact = [text] if page.number == 0 and await is_stored(storage, key) else []
    found = await visit.desk.searches.page(
        (kind, text),
        lambda: ids_beginning(storage, kind, role, text),
        page.number,
        anew=page.anew,
        look_s=GLANCE_S if exact else LOOK_S,
    )
    return [*exact, *found.rows], found.more, found.looking


async def _row(visit: Visit, name: str) -> dict[str, Any]:
    try:
        view = await visit.desk.account_acts.show(visit.by, name)
    except RealmkeepError as error:
        if error.retryable:
            raise
        return {"name": name, "view": None, "note": error.message}
    return {"name": name, "view": view, "note": ""}


async def show(visit: Visit) -> Response:
    """One account.

    Raises:
        ActRefused: There is no such account.
        Quarantined: It cannot be read.
        StorageError: The store cannot be reached.
    """
    view = await visit.desk.account_acts.show(visit.by, _name(visit))
    return visit.render(
        "account.html", title=view.username, view=view, act_id=new_act_id(), days=ban_days(visit), for_ever=FOR_EVER
    )


def ban_days(visit: Visit) -> list[int]:
    """The lengths of a ban, in days, that the operator may choose."""
    return [each for each in BAN_DAYS if visit.role is Role.ADMIN or each * DAY_S <= SUPPORT_BAN_S_MAX]


def ban_seconds(form: dict[str, str]) -> float | None:
    """The length of a ban that a form chooses; None for one without an end.

    Raises:
        ActRefused: It chooses none.
    """
    days = form.get("days", "")
    if days not in {*map(str, BAN_DAYS), FOR_EVER}:
        raise ActRefused(f"{days!r:.40} is no time of a ban", hint="choose one of the list")
    return None if days == FOR_EVER else float(days) * DAY_S


async def ban(visit: Visit) -> Response:
    """Ban an account.

    Raises:
        OperatorError: As all acts.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    lasts_s = ban_seconds(form)
    check_typed(form, _name(visit))
    outcome = await visit.desk.account_acts.ban(
        visit.by,
        _name(visit),
        reason=form.get("reason", ""),
        lasts_s=lasts_s,
        act_id=act_id(form),
    )
    return done(visit, "banned", outcome, "/accounts/{}", _name(visit))


async def unban(visit: Visit) -> Response:
    """Lift the ban of an account.

    Raises:
        OperatorError: As all acts.
        StorageError: The store cannot be reached.
    """
    return await _act(visit, visit.desk.account_acts.unban, "the ban is lifted")


async def lock(visit: Visit) -> Response:
    """Lock an account that may be in foreign hands.

    Raises:
        OperatorError: As all acts.
        StorageError: The store cannot be reached.
    """
    return await _act(visit, visit.desk.account_acts.lock, "locked")


async def unlock(visit: Visit) -> Response:
    """End the lock of an account.

    Raises:
        OperatorError: As all acts.
        StorageError: The store cannot be reached.
    """
    return await _act(visit, visit.desk.account_acts.unlock, "the lock is ended")


async def sign_out(visit: Visit) -> Response:
    """End every session and ticket of an account.

    Raises:
        OperatorError: As all acts.
        StorageError: The store cannot be reached.
    """
    return await _act(visit, visit.desk.account_acts.sign_out, "every session has ended")


async def reset_password(visit: Visit) -> Response:
    """Give an account a random password, and show it once.

    Raises:
        OperatorError: As all acts.
        AuthFailed: The operator's own password is wrong.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    check_typed(form, _name(visit))
    await visit.check_password(form)
    act, issued = act_id(form), visit.desk.issued_passwords
    password = issued.setdefault(act, new_password())
    while len(issued) > PASSWORDS_MAX:
        del issued[next(iter(issued))]
    outcome = await visit.desk.account_acts.reset_password(
        visit.by, _name(visit), password, reason=form.get("reason", ""), act_id=act
    )
    return visit.render("new_password.html", title="A new password", name=_name(visit), password=password, done=outcome)


class _Act(Protocol):
    """An act on an account that needs a reason alone."""

    async def __call__(self, by: Operator, username: str, *, reason: str, act_id: str) -> Outcome: ...


async def _act(visit: Visit, act: _Act, said: str) -> Response:
    form = await visit.form()
    outcome = await act(visit.by, _name(visit), reason=form.get("reason", ""), act_id=act_id(form))
    return done(visit, said, outcome, "/accounts/{}", _name(visit))


def _name(visit: Visit) -> str:
    return fold_username(visit.request.path_params["name"])
