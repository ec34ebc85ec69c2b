"""A player who is in the game at this server, as its memory has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from realmkeep.operations.operators.finding import fields_of

if TYPE_CHECKING:
    from realmkeep.keeping.lifecycle.engine import Engine
    from realmkeep.operations.operators.finding import FieldView


class LiveView(msgspec.Struct, frozen=True):
    """A live session.

    Attributes:
        state: The state by `LIFECYCLE`, as a word.
        fields: Its stored fields, as they are now.
        dirty: Something of it is not durable yet.
        revision_us: Its revision in memory.
        durable_us: The revision that the store is known to have.
        last_op: The highest operation id that was applied.
        frozen: Why it cannot be saved as it is; empty if it can.
    """

    state: str
    fields: tuple[FieldView, ...]
    dirty: bool
    revision_us: int
    durable_us: int
    last_op: int
    frozen: str


def live_view(engine: Engine, key: str) -> LiveView | None:
    """The live session of the record with this key; None if this server has none."""
    session = engine.sessions.get(key)
    if session is None or session.borrowers:
        return None
    return LiveView(
        state=session.state.name.lower(),
        fields=fields_of(session.record),
        dirty=session.dirty,
        revision_us=session.revision,
        durable_us=session.durable_revision,
        last_op=session.last_op,
        frozen=session.frozen or "",
    )
