"""What pages read from forms and addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from realmkeep.errors import ActRefused
from realmkeep.operations.operators.acts import new_act_id

if TYPE_CHECKING:
    from starlette.responses import Response

    from realmkeep.operations.console.visit import Visit
    from realmkeep.operations.operators.orders import Outcome

PAGES_MAX: Final = 200
PREFIX_CHARS_MAX: Final = 256  # the longest key of a record, or of a copy in quarantine


class Asked(NamedTuple):
    """A page of a search, as an address asks for it.

    Attributes:
        text: The text that is sought.
        number: The number of the page, from 0.
        anew: The search begins anew; otherwise it goes on.
    """

    text: str
    number: int
    anew: bool


def asked(visit: Visit) -> Asked:
    """The page of a search that a request asks for."""
    query = visit.request.query_params
    page = query.get("page", "0")
    number = min(int(page), PAGES_MAX) if page.isascii() and page.isdigit() and len(page) < 6 else 0
    return Asked(query.get("q", "").strip()[:PREFIX_CHARS_MAX], number, number == 0 and "on" not in query)


def act_id(form: dict[str, str]) -> str:
    """The id of the act; a form that is sent twice has one."""
    found = form.get("act_id", "")
    return found if len(found) == 16 and found.isalnum() else new_act_id()


def check_typed(form: dict[str, str], wanted: str) -> None:
    """Refuse an act unless the operator has typed the name of its target.

    Raises:
        ActRefused: Another one was typed.
    """
    if form.get("typed", "").strip() != wanted:
        raise ActRefused("the name that was typed is not that of the target", hint=f"type {wanted}")


def done(visit: Visit, said: str, outcome: Outcome, path: str, *parts: object) -> Response:
    """Tell the outcome of an act on the page that follows it."""
    visit.tell(f"Done: {said}, by {outcome.server}; audit entry {outcome.entry}.")
    return visit.redirect(path, *parts)
