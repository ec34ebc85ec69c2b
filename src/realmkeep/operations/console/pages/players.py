"""Players: the search, one player, and the acts on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from realmkeep.accounts import fold_username
from realmkeep.errors import ActRefused, RealmkeepError
from realmkeep.keeping.live.record_keys import keys_of
from realmkeep.operations.console.live_view import live_view
from realmkeep.operations.operators.acts import new_act_id
from realmkeep.operations.operators.roles import DAY_S, SUPPORT_BAN_S_MAX, Role
from realmkeep.storage import load_each

if TYPE_CHECKING:
    from starlette.responses import Response

    from realmkeep.operations.console.visit import Visit
    from realmkeep.operations.operators.finding import PlayerView
    from realmkeep.operations.operators.orders import Outcome

BAN_DAYS: Final = (1, 3, 7, 30, 365)
PREFIX_CHARS_MAX: Final = 64
PAGES_MAX: Final = 200


async def search(visit: Visit) -> Response:
    """Players by the beginning of their account's name or of their id, fifty at a time.

    Raises:
        StorageError: The store cannot be reached.
    """
    query = visit.request.query_params
    text, by = query.get("q", "").strip()[:PREFIX_CHARS_MAX], query.get("by", "account")
    page = query.get("page", "0")
    number = min(int(page), PAGES_MAX) if page.isascii() and page.isdigit() and len(page) < 6 else 0
    rows: list[dict[str, str]] = []
    more = False
    if text and ":" not in text:
        kind = visit.desk.players.record.__realmkeep__.kind
        looked = ("account", "account", fold_username(text)) if by == "account" else (kind, "record", text)
        found = await visit.desk.searches.page(*looked, number)
        more = found.more
        rows = await (_accounts(visit, found.ids) if by == "account" else _records(visit, found.ids))
    return visit.render("players.html", title="Players", q=text, by=by, rows=rows, number=number, more=more)


async def _accounts(visit: Visit, names: list[str]) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for name in names:
        try:
            account = await visit.desk.accounts.account(name)
        except RealmkeepError as error:
            if error.retryable:
                raise
            rows.append({"name": name, "id": "", "server": "", "note": error.message})
            continue
        banned = account.is_banned(visit.desk.engine.clock.wall_us() // 1_000_000)
        rows += [
            {"name": name, "id": str(each), "server": "", "note": "banned" if banned else ""}
            for each in account.character_ids or [""]
        ]
    return await _with_servers(visit, rows)


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
    view = await visit.desk.acts.show(visit.by, visit.request.path_params["id"])
    live = live_view(visit.desk.engine, view.key)
    fields = view.fields if live is None else live.fields
    return visit.render(
        "player.html",
        title=_name(visit, view),
        view=view,
        live=live,
        fields=fields,
        act_id=new_act_id(),
        days=[each for each in BAN_DAYS if visit.role is Role.ADMIN or each * DAY_S <= SUPPORT_BAN_S_MAX],
        gift_max=None if visit.role is Role.ADMIN else visit.desk.config.operators.support_gift_max,
    )


async def kick(visit: Visit) -> Response:
    """Disconnect a player.

    Raises:
        OperatorError: As all acts.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    outcome = await visit.desk.acts.kick(visit.by, _id(visit), reason=form.get("reason", ""), act_id=_act_id(form))
    return _done(visit, "kicked", outcome)


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
    outcome = await visit.desk.acts.gift(
        visit.by, _id(visit), thing, int(amount), reason=form.get("reason", ""), act_id=_act_id(form)
    )
    return _done(visit, f"given {int(amount):,} {thing}", outcome)


async def ban(visit: Visit) -> Response:
    """Ban the account of a player.

    Raises:
        OperatorError: As all acts.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    days = form.get("days", "")
    if days not in {*map(str, BAN_DAYS), "for ever"}:
        raise ActRefused(f"{days!r:.40} is no time of a ban", hint="choose one of the list")
    _check_typed(visit, form)
    lasts_s = None if days == "for ever" else float(days) * DAY_S
    outcome = await visit.desk.acts.ban(
        visit.by, _id(visit), reason=form.get("reason", ""), lasts_s=lasts_s, act_id=_act_id(form)
    )
    return _done(visit, f"banned {days if lasts_s is None else f'for {days} days'}", outcome)


async def unban(visit: Visit) -> Response:
    """Lift the ban of a player's account.

    Raises:
        OperatorError: As all acts.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    outcome = await visit.desk.acts.unban(visit.by, _id(visit), reason=form.get("reason", ""), act_id=_act_id(form))
    return _done(visit, "the ban is lifted", outcome)


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
    _check_typed(visit, form)
    await visit.check_password(form)
    expected = (_value(form.get("before", "")),) if form.get("guarded") else None
    outcome = await visit.desk.acts.edit(
        visit.by,
        _id(visit),
        form.get("field", ""),
        _value(form.get("value", "")),
        reason=form.get("reason", ""),
        expected=expected,
        act_id=_act_id(form),
    )
    return _done(visit, f"{form.get('field', '')} is changed", outcome)


def _check_typed(visit: Visit, form: dict[str, str]) -> None:
    if form.get("typed", "").strip() != _id(visit):
        raise ActRefused("the id that was typed is not that of the player", hint="type it as the page shows it")


def _value(text: str) -> Any:
    """A value of JSON; any other text stands for itself, so that a name needs no quotation marks."""
    try:
        return msgspec.json.decode(text.encode())
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return text


def _done(visit: Visit, said: str, outcome: Outcome) -> Response:
    visit.tell(f"Done: {said}, by {outcome.server}; audit entry {outcome.entry}.")
    return visit.redirect("/players/{}", _id(visit))


def _id(visit: Visit) -> str:
    return visit.request.path_params["id"]


def _act_id(form: dict[str, str]) -> str:
    act_id = form.get("act_id", "")
    return act_id if len(act_id) == 16 and act_id.isalnum() else new_act_id()


def _name(visit: Visit, view: PlayerView) -> str:
    named = next((field.value for field in view.fields if field.name == visit.desk.players.name), "")
    return str(named or view.id)
