"""The letters in front of inboxes that came back with an older state of the store: those that were opened go again.

A write that opened letters dropped them from the head of a list, by their number. Done again, it drops no other letters than
those: a server may have read the list after the loss, or another one may have appended to it since.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import TYPE_CHECKING

from realmkeep.errors import WrongType
from realmkeep.keeping.live.envelope import letter_id
from realmkeep.storage import DropFirst

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from realmkeep.keeping.live.op_ring import OpRing
    from realmkeep.storage import Append, Effect, Storage

log = logging.getLogger(__name__)


class InboxHeads:
    """The heads of the lists from which some writes drop letters.

    Args:
        storage: The store.
        ring_of: The ring that knows every letter that a record of this server opened; None if there is none.
    """

    def __init__(self, storage: Storage, ring_of: Callable[[str], OpRing | None]) -> None:
        self._storage = storage
        self._ring_of = ring_of
        self._heads: dict[str, list[bytes]] = {}

    async def read(self, effects: Iterable[Effect]) -> None:
        """Read as much of each list as these effects may drop, where that is not read yet.

        Raises:
            StorageError: The store cannot be asked.
        """
        counts: Counter[str] = Counter()
        for effect in effects:
            if isinstance(effect, DropFirst) and effect.key not in self._heads:
                counts[effect.key] += effect.count
        for key, count in counts.items():
            try:
                self._heads[key] = await self._storage.load_list(key, count=count)
            except WrongType as error:  # nothing to drop there, and no reason to hold up the others
                log.error("%s", error)
                self._heads[key] = []

    def dropped(self, effect: DropFirst, moved: Container[bytes], opener: str | None) -> DropFirst | None:
        """The same for as many letters as a write had dropped and the list shows again; None if it shows none.

        Args:
            effect: The effect of the write.
            moved: The letters that the write appended to other lists.
            opener: The record of the write whose letters lie in the list; None if none of its records is.
        """
        head = self._heads.get(effect.key)
        if head is None:  # queued after the loss was mended
            return effect
        ring = self._ring_of(opener) if opener is not None else None
        count = 0
        while count < min(effect.count, len(head)):
            letter = head[count]
            if letter not in moved and (ring is None or not ring.has_letter(letter_id(letter))):
                break
            count += 1
        del head[:count]
        return DropFirst(effect.key, count) if count else None

    def appended(self, effect: Append) -> None:
        """A letter that is moved to the end of a list may be dropped from there by a later entry."""
        if effect.key in self._heads:
            self._heads[effect.key].append(effect.value)
