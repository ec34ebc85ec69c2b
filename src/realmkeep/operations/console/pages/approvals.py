"""Acts that wait for the approval of a second admin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep.operations.console.forms import act_id, asked, done
from realmkeep.operations.operators.acts import new_act_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.responses import Response

    from realmkeep.errors import ApprovalNeeded
    from realmkeep.operations.console.visit import Visit
    from realmkeep.operations.operators.approvals import Approvals
    from realmkeep.storage import Storage


async def show_approvals(visit: Visit) -> Response:
    """The acts that wait, fifty at a time.

    Raises:
        StorageError: The store cannot be reached.
    """
    desk, page = visit.desk, asked(visit)
    found = await desk.searches.page(
        ("approvals",), lambda: _waiting(desk.engine.storage, desk.acts.approvals), page.number, anew=page.anew
    )
    rows = [request for key in found.rows if (request := await desk.acts.approvals.request_at(key)) is not None]
    return visit.render(
        "approvals.html",
        title="Approvals",
        rows=rows,
        act_id=new_act_id(),
        number=page.number,
        more=found.more,
        looking=found.looking,
    )


async def _waiting(storage: Storage, approvals: Approvals) -> AsyncIterator[str]:
    """The keys of the acts that wait."""
    async for key in storage.keys("server:act:*"):
        if await approvals.request_at(key) is not None:
            yield key


async def approve(visit: Visit) -> Response:
    """Approve the act of another admin.

    Raises:
        OperatorError: As all acts; also for an act that the operator itself has asked for.
        AuthFailed: The operator's password is wrong.
        StorageError: The store cannot be reached.
    """
    form = await visit.form()
    await visit.check_password(form)
    approved = visit.request.path_params["act"]
    outcome = await visit.desk.acts.approvals.approve(
        visit.by, approved, reason=form.get("reason", ""), approval_id=act_id(form)
    )
    return done(visit, f"the act {approved} is approved; its operator asks for it again", outcome, "/approvals")


def wait_for_approval(visit: Visit, needed: ApprovalNeeded, path: str, form: dict[str, str]) -> Response:
    """The page of an act that has to be approved: from it the operator asks again, with the same id.

    Args:
        visit: The visit.
        needed: The error of the act.
        path: The path of the act's form.
        form: The form as it was sent, with the id of the act.
    """
    return visit.render(
        "approval_needed.html", status=202, title="A second admin decides", needed=needed, path=path, form=form
    )
