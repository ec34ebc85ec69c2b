"""Opened letters that came back with an older state of the store are dropped again, by their identity.

A write that opened letters dropped a number of them from the head of a list. After a loss the same number may be wrong: a
server may have dropped some since, or appended others. So the head is read, and only letters that the record has opened go.
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
    """The heads of the lists from which writes drop letters.

    Args:
        storage: The store.
        ring_of: The ring of a record, with every letter that it opened; None if this server has none.
    """

    def __init__(self, storage: Storage, ring_of: Callable[[str], OpRing | None]) -> None:
        self._storage = storage
        self._ring_of = ring_of
        self._heads: dict[str, list[bytes]] = {}

    async def read(self, effects: Iterable[Effect]) -> None:
        """Read the head of each list, as far as these effects may drop from it; a head that was read is kept.

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
            except WrongType as error:  # the key holds no list, so nothing can be dropped: the other writes go on
                log.error("%s", error)
                self._heads[key] = []

    def dropped(self, effect: DropFirst, moved: Container[bytes], opener: str | None) -> DropFirst | None:
        """The effect for the letters that the write had dropped and that are back in the list; None if none is.

        Args:
            effect: The effect of the write.
            moved: The letters that the write appended to other lists.
            opener: The record of the write to which the list belongs; None if it belongs to none of them.
        """
        head = self._heads.get(effect.key)
        if head is None:  # the write was queued after the recovery: its number is right
            return effect
        ring = self._ring_of(opener) if opener is not None else None
        count = 0
        while count < min(effect.count, len(head)):
            letter = head[count]
            # The first letter that this write did not move, and its record has not opened, is new, as are all behind it.
            if letter not in moved and (ring is None or not ring.has_letter(letter_id(letter))):
                break
            count += 1
        del head[:count]
        return DropFirst(effect.key, count) if count else None

    def appended(self, effect: Append) -> None:
        """Add a letter to the end of its head, if that was read: a later write may drop it from there."""
        if effect.key in self._heads:
            self._heads[effect.key].append(effect.value)
