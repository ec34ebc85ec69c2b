"""Players: the search, one player, and the acts on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from realmkeep.accounts import fold_username
from realmkeep.errors import ActRefused, ApprovalNeeded, RealmkeepError
from realmkeep.keeping.live.record_keys import keys_of
from realmkeep.operations.console.forms import act_id, asked, check_typed, done
from realmkeep.operations.console.live_view import live_view
from realmkeep.operations.console.pages.accounts import FOR_EVER, ban_days, ban_seconds, found_accounts, found_ids
from realmkeep.operations.console.pages.approvals import wait_for_approval
from realmkeep.operations.operators.acts import new_act_id
from realmkeep.operations.operators.bans import check_ban
from realmkeep.operations.operators.finding import accounts_with
from realmkeep.operations.operators.roles import Role
from realmkeep.storage import load_each

if TYPE_CHECKING:
    from starlette.responses import Response

    from realmkeep.operations.console.visit import Visit
    from realmkeep.operations.operators.finding import PlayerView
    from realmkeep.operations.operators.orders import Outcome


async def search(visit: Visit) -> Response:
    """Players by the beginning of their account's name or of their id, fifty at a time.

    Raises:
        StorageError: The store cannot be reached.
    """
    page, by = asked(visit), visit.request.query_params.get("by", "account")
    if by == "account":
        found, more, looking = await found_accounts(visit, fold_username(page.text))
        rows = await _accounts(visit, found)
    else:
        info = visit.desk.players.record.__realmkeep__
        found, more, looking = await found_ids(visit, info.kind, "record", page.text, suffix=info.suffix)
        rows = await _records(visit, found)
    return visit.render(
        "players.html", title="Players", q=page.text, by=by, rows=rows, number=page.number, more=more, looking=looking
    )


async def _accounts(visit: Visit, names: list[str]) -> list[dict[str, str]]:
    found = await asyncio.gather(*(_characters(visit, name) for name in names))  # read in one turn
    return await _with_servers(visit, [row for rows in found for row in rows])


async def _characters(visit: Visit, name: str) -> list[dict[str, str]]:
    try:
        account = await visit.desk.accounts.account(name)
    except RealmkeepError as error:
        if error.retryable:
            raise
        return [{"name": name, "id": "", "server": "", "note": error.message}]
    banned = account.is_banned(visit.desk.engine.clock.wall_us() // 1_000_000)
    return [
        {"name": name, "id": str(each), "server": "", "note": "banned" if banned else ""}
        for each in account.character_ids or [""]
    ]


async def _records(visit: Visit, ids: list[str]) -> list[dict[str, str]]:
    return await _with_servers(visit, [{"name": "", "id": each, "server": "", "note": ""} for each in ids])


async def _with_servers(visit: Visit, rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """The rows with the owner of each player, read at once."""
    owned = [row for row in rows if row["id"]]
    found = [keys_of(visit.desk.players.record, row["id"]).owner for row in owned]
    for row, owner in zip(owned, await load_each(visit.desk.engine.storage, found), strict=True):
        row["server"] = "" if owner is None else owner.decode(errors="replace").partition("/")[0]
    return rows


async def show(visit: Visit) -> Response:
    """One player.

    Raises:
        ActRefused: There is no such player.
        StorageError: The store cannot be reached.
    """
    desk = visit.desk
    near = visit.request.query_params.get("account", "")
    view = await desk.acts.show(visit.by, visit.request.path_params["id"], account=near)
    live = live_view(desk.engine, view.key)
    return visit.render(
        "player.html",
        title=_name(visit, view),
        view=view,
        live=live,
        fields=view.fields if live is None else live.fields,
        notes=await desk.notes.of_player(visit.by, view.id),
        act_id=new_act_id(),
        days=ban_days(visit),
        for_ever=FOR_EVER,
        gift_max=None if visit.role is Role.ADMIN else desk.config.operators.support_gift_max,
        moves=desk.players.move is not None,
        gifts=desk.players.gift is not None,
    )


async def find_account(visit: Visit) -> Response:
    """The account of a player whose name is not that of its account: the store looks for it, a page of accounts at a time.

    Raises:
        ActRefused: There is no such player.
        StorageError: The store cannot be reached.
    """
    desk, player = visit.desk, _id(visit)
    page = asked(visit)
    found = await desk.searches.page(
        ("account of", player), lambda: accounts_with(desk.engine.storage, player), 0, anew=page.anew
    )
    return visit.render("account_of.html", player=player, found=found.rows, looking=found.looking and not found.rows)


async def kick(visit: Visit) -> Response:
    """Disconnect a player.

    Raises:
        OperatorError: As all acts.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    outcome = await visit.desk.acts.kick(visit.by, _id(visit), reason=form.get("reason", ""), act_id=act_id(form))
    return _done(visit, form, "kicked", outcome)


async def gift(visit: Visit) -> Response:
    """Give a player something.

    Raises:
        OperatorError: As all acts.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    amount = form.get("amount", "")
    if not (amount.isascii() and amount.isdigit() and len(amount) <= 15):
        raise ActRefused(f"{amount!r:.40} is no amount", hint="a whole number from 1")
    thing = form.get("thing", "").strip()
    form["act_id"] = act_id(form)
    try:
        outcome = await visit.desk.acts.gift(
            visit.by, _id(visit), thing, int(amount), reason=form.get("reason", ""), act_id=form["act_id"]
        )
    except ApprovalNeeded as needed:
        return wait_for_approval(visit, needed, visit.at("/players/{}/gift", _id(visit)), form)
    return _done(visit, form, f"given {int(amount):,} {thing}", outcome)


async def ban(visit: Visit) -> Response:
    """Ban the account of a player.

    Raises:
        OperatorError: As all acts.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    lasts_s = ban_seconds(form)
    check_typed(form, _id(visit))
    check_ban(visit.by, lasts_s)
    account = await _account(visit, form)
    outcome = await visit.desk.account_acts.ban(
        visit.by, account, reason=form.get("reason", ""), lasts_s=lasts_s, act_id=act_id(form)
    )
    return _done(visit, form, "banned" if lasts_s is None else f"banned for {form['days']} days", outcome)


async def unban(visit: Visit) -> Response:
    """Lift the ban of a player's account.

    Raises:
        OperatorError: As all acts.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    account = await _account(visit, form)
    outcome = await visit.desk.account_acts.unban(visit.by, account, reason=form.get("reason", ""), act_id=act_id(form))
    return _done(visit, form, "the ban is lifted", outcome)


async def _account(visit: Visit, form: dict[str, str]) -> str:
    """The account of the player, which the page has found.

    Raises:
        ActRefused: No account has the player any more.
        StorageError: The store cannot be reached.
    """
    view = await visit.desk.acts.show(visit.by, _id(visit), account=form.get("account", ""))
    if not view.account:
        raise ActRefused(f"no account of this name has {view.key}", hint="look for its account on the player's page")
    return view.account


async def release(visit: Visit) -> Response:
    """Disconnect a player, and have its server save the record and give it up.

    Raises:
        OperatorError: As all acts.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    outcome = await visit.desk.acts.release(visit.by, _id(visit), reason=form.get("reason", ""), act_id=act_id(form))
    return _done(visit, form, "released", outcome)


async def move(visit: Visit) -> Response:
    """Put a player somewhere.

    Raises:
        OperatorError: As all acts.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    place = form.get("place", "").strip()
    outcome = await visit.desk.acts.move(
        visit.by, _id(visit), place, reason=form.get("reason", ""), act_id=act_id(form)
    )
    return _done(visit, form, f"moved to {place}", outcome)


async def rename(visit: Visit) -> Response:
    """Give a player and its account another name.

    Raises:
        OperatorError: As all acts.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    check_typed(form, _id(visit))
    name = form.get("name", "").strip()
    outcome = await visit.desk.acts.rename(
        visit.by,
        _id(visit),
        name,
        reason=form.get("reason", ""),
        account=form.get("account", ""),
        act_id=act_id(form),
    )
    return _done(visit, {}, f"renamed to {name}", outcome)


async def note(visit: Visit) -> Response:
    """Add a note for other operators.

    Raises:
        OperatorError: As all acts.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    outcome = await visit.desk.notes.add(visit.by, _id(visit), form.get("text", ""), act_id=act_id(form))
    return _done(visit, form, "noted", outcome)


async def preview(visit: Visit) -> Response:
    """The difference that an edit would make; nothing is changed.

    Raises:
        OperatorError: The value is refused, or there is no such player.
        Quarantined: The record cannot be read.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    field = form.get("field", "").strip()
    value = _value(form.get("value", ""))
    made = await visit.desk.acts.preview_edit(visit.by, _id(visit), field, value)
    return visit.render(
        "edit.html",
        title=f"Edit {field}",
        made=made,
        player=_id(visit),
        value=msgspec.json.encode(value).decode(),
        before=msgspec.json.encode(made.before).decode(),
        act_id=new_act_id(),
    )


async def edit(visit: Visit) -> Response:
    """Change one value of a player: after the preview, with the reason and the operator's password.

    Raises:
        OperatorError: As all acts.
        AuthFailed: The password is wrong.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    check_typed(form, _id(visit))
    await visit.check_password(form)
    expected = (_value(form.get("before", "")),) if form.get("guarded") else None
    outcome = await visit.desk.acts.edit(
        visit.by,
        _id(visit),
        form.get("field", ""),
        _value(form.get("value", "")),
        reason=form.get("reason", ""),
        expected=expected,
        act_id=act_id(form),
    )
    return _done(visit, form, f"{form.get('field', '')} is changed", outcome)


def _value(text: str) -> Any:
    """A value of JSON; any other text stands for itself, so that a name needs no quotation marks."""
    try:
        return msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text


def _done(visit: Visit, form: dict[str, str], said: str, outcome: Outcome) -> Response:
    path, parts = "/players/{}", [_id(visit)]
    if form.get("account"):
        path, parts = "/players/{}?account={}", [_id(visit), form["account"]]
    return done(visit, said, outcome, path, *parts)


def _id(visit: Visit) -> str:
    return visit.request.path_params["id"]


def _name(visit: Visit, view: PlayerView) -> str:
    named = next((field.value for field in view.fields if field.name == visit.desk.players.name), "")
    return str(named or view.id)
