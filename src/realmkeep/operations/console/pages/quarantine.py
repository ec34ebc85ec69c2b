"""Records that cannot be used: the copies that logins left, the bytes of one record, and the two ways out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from realmkeep import keys
from realmkeep.errors import ActRefused
from realmkeep.operations.console.forms import act_id, asked, check_typed, done
from realmkeep.operations.operators.acts import new_act_id

if TYPE_CHECKING:
    from starlette.responses import Response

    from realmkeep.operations.console.visit import Visit


async def show_list(visit: Visit) -> Response:
    """The copies of unusable bytes, fifty at a time; or the record whose key was typed.

    Raises:
        StorageError: The store cannot be reached.
    """
    page, storage = asked(visit), visit.desk.engine.storage
    if page.text:
        return visit.redirect("/quarantine/{}", page.text)
    found = await visit.desk.searches.page(("corrupt",), lambda: storage.keys("corrupt:*"), page.number, anew=page.anew)
    rows = [copy for key in found.rows if (copy := await visit.desk.quarantine.copy_at(key)) is not None]
    return visit.render(
        "quarantine.html",
        title="Quarantine",
        rows=rows,
        number=page.number,
        more=found.more,
        looking=found.looking,
    )


async def show(visit: Visit) -> Response:
    """The bytes of one record or copy, with everything that is wrong with them.

    Raises:
        ActRefused: There is nothing at the key, or it is no key of a record.
        StorageError: The store cannot be reached.
    """
    return await _shown(visit)


async def _shown(visit: Visit, *, content: str | None = None, refused: ActRefused | None = None) -> Response:
    view = await visit.desk.quarantine.show(visit.by, _key(visit))
    is_copy = keys.parse(view.key).role == "corrupt"
    copy = await visit.desk.quarantine.copy_at(view.key) if is_copy else None
    return visit.render(
        "quarantined.html",
        status=200 if refused is None else 409,
        title=view.key,
        view=view,
        copy=copy,
        content=_readable(view.content) if content is None else content,
        refused=refused,
        act_id=new_act_id(),
    )


async def judge(visit: Visit) -> Response:
    """The word of the loading path on the text in the edit area; nothing is changed.

    Raises:
        ActRefused: It is no key of a record.
    """
    form = await visit.form()
    error, issues = visit.desk.quarantine.judge(_key(visit), form.get("content", "").encode(errors="replace"))
    return visit.render("verdict.html", error=error, issues=issues)


async def mend(visit: Visit) -> Response:
    """Replace the bytes of a record by others that the loading path accepts.

    Raises:
        OperatorError: As all acts.
        AuthFailed: The operator's password is wrong.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    content = form.get("content", "")
    try:
        check_typed(form, _key(visit))
        await visit.check_password(form)
        outcome = await visit.desk.quarantine.mend(
            visit.by,
            _key(visit),
            content.encode(errors="replace"),
            digest=form.get("digest", ""),
            reason=form.get("reason", ""),
            act_id=act_id(form),
        )
    except ActRefused as refused:
        return await _shown(visit, content=content, refused=refused)
    return done(visit, "mended", outcome, "/quarantine/{}", _key(visit))


async def discard(visit: Visit) -> Response:
    """Delete a record that cannot be used, or a kept copy.

    Raises:
        OperatorError: As all acts.
        AuthFailed: The operator's password is wrong.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    check_typed(form, _key(visit))
    await visit.check_password(form)
    outcome = await visit.desk.quarantine.discard(
        visit.by, _key(visit), digest=form.get("digest", ""), reason=form.get("reason", ""), act_id=act_id(form)
    )
    return done(visit, f"{_key(visit)} is discarded", outcome, "/quarantine")


def _key(visit: Visit) -> str:
    return visit.request.path_params["key"]


def _readable(content: str) -> str:
    """JSON with a line for each field; any other notation as it is."""
    try:
        return msgspec.json.format(content)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return content
