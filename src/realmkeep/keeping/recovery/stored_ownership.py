"""What the store holds of records that are live here, or were a moment ago: whose they are, and how old."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

from realmkeep.keeping.ownership.revisions import DIGITS_MAX, stored_number, token_of
from realmkeep.keeping.recovery.released_snapshots import Departed
from realmkeep.storage import load_each

if TYPE_CHECKING:
    from collections.abc import Iterable

    from realmkeep.keeping.live.session import Session
    from realmkeep.storage import Storage

UNREADABLE: Final = 10**DIGITS_MAX  # later than any revision
KEYS_READ_AT_ONCE: Final = 1000  # as many as `Storage.load_many` reads at one moment; even, so that pairs stay together

Kept: TypeAlias = "Session[Any] | Departed"
K = TypeVar("K", bound="Session[Any] | Departed")


class Held(NamedTuple):
    """What the store holds of a record: its owner and its revision (0: none; `UNREADABLE`: no revision lies there)."""

    owner: bytes | None
    revision: int

    @property
    def is_foreign(self) -> bool:
        """Something lies there that no server of Realmkeep wrote."""
        return self.revision == UNREADABLE or (self.owner is not None and not token_of(self.owner))

    def is_ours(self, kept: Kept) -> bool:
        """The owner is this very session, or was."""
        return self.owner == kept.owner_guard.expected

    def is_lost(self, kept: Kept) -> bool:
        """The owner is a later one, as claims of a record have rising tokens; or something foreign lies there."""
        if self.revision == UNREADABLE:
            return True
        if self.owner is None or self.is_ours(kept):
            return False
        return self.is_foreign or token_of(self.owner) > kept.token

    def is_behind(self, kept: Kept) -> bool:
        """The store lost something of it: a revision that it acknowledged, or the claim of a session.

        Nobody owns it, or an earlier owner, at our own revision or before it: a later one would have left a later one.
        """
        if self.is_ours(kept) or isinstance(kept, Departed):
            return self.revision < kept.durable_revision
        return self.revision <= kept.durable_revision and not self.is_lost(kept)

    def is_free_for(self, departed: Departed) -> bool:
        """What it left may be written again: as far as the store knows nobody claimed the record after it.

        A claim that was released again leaves no owner, but a revision later than our claim's token.
        """
        return self.is_ours(departed) or (not self.is_lost(departed) and self.revision <= departed.token)


async def read_held(storage: Storage, kept: Iterable[K]) -> dict[K, Held]:
    """Owner and revision of every record, as the store holds them.

    Raises:
        StorageError: The store cannot be asked.
    """
    order = list(kept)
    keys = [key for each in order for key in (each.keys.owner, each.keys.updated)]
    found: list[bytes | None] = []
    for start in range(0, len(keys), KEYS_READ_AT_ONCE):
        found.extend(await load_each(storage, keys[start : start + KEYS_READ_AT_ONCE]))
    pairs = zip(found[::2], found[1::2], strict=True)
    return {each: Held(owner, _stored_revision(updated)) for each, (owner, updated) in zip(order, pairs, strict=True)}


def _stored_revision(updated: bytes | None) -> int:
    """As it is stored; what is no number is nothing that we lost, and may not be overwritten."""
    revision = stored_number(updated)
    return UNREADABLE if revision is None else revision
