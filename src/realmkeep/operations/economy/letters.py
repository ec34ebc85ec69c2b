"""The contents of letters as they lie in a store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep.keeping.live.envelope import open_envelope
from realmkeep.keeping.live.letter_types import RETURNED, Returned, open_letter
from realmkeep.records import held_by

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realmkeep import Letter
    from realmkeep.operations.backup.holdings import Holdings
    from realmkeep.records import Held


def letters_by_kind(holdings: Holdings) -> dict[str, type[Letter]]:
    """The types of a game's letters, with those that went back, by kind."""
    return {cls.__letter__.kind: cls for cls in (*holdings.letters, Returned)}


def held_in_letter(stored: bytes, letters: Mapping[str, type[Letter]]) -> Held | None:
    """What a stored letter holds; None if its type declares nothing, or it has none.

    Args:
        stored: An entry of an inbox, or a kept letter.
        letters: As `letters_by_kind` gives them.

    Raises:
        RecordError: The content breaks the rules of its type.
        MsgspecError, ValueError: It is no letter (`UNDECODABLE`).
    """
    letter = open_envelope(stored)
    cls = letters.get(letter.kind)
    if cls is None:
        return None
    opened = open_letter(letter, cls)
    if letter.kind == RETURNED and isinstance(opened, Returned):
        return held_in_letter(opened.envelope.encode(), letters)
    return held_by(cls.__letter__, opened)
