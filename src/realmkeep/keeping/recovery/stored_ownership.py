"""Owner and revision of records, as the store holds them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from realmkeep.keeping.ownership.revisions import stored_number
from realmkeep.keeping.recovery.verdict import Wrote, verdict
from realmkeep.storage import load_each
from realmkeep.storage.cold import Stub

if TYPE_CHECKING:
    from collections.abc import Iterable

    from realmkeep.keeping.live.session import Session
    from realmkeep.keeping.recovery.verdict import Verdict
    from realmkeep.keys import RecordKeys
    from realmkeep.storage import Storage

KEYS_READ_AT_ONCE: Final = 1000  # `Storage.load_many` reads so many at one moment; even, so that pairs stay together


class StoredOwnership(NamedTuple):
    """The owner key of a record and its revision (0: there is none; None: the value is no revision).

    A frozen record has its revision in its stub, and none at its own key.
    """

    owner: bytes | None
    revision: int | None
    is_frozen: bool = False

    @property
    def updated(self) -> bytes | None:
        """The value that a guard on the key of the revision expects."""
        return b"%d" % self.revision if self.revision and not self.is_frozen else None

    def verdict(self, write: Wrote) -> Verdict:
        """As `verdict.verdict`."""
        return verdict(self.owner, self.revision, write)


def acknowledged(session: Session[Any]) -> Wrote:
    """The last acknowledged write of a session, or its claim if there is none."""
    return Wrote(session.claim, session.durable_revision)


async def read_ownership(storage: Storage, records: Iterable[RecordKeys]) -> dict[str, StoredOwnership]:
    """Read owner and revision of every record.

    Returns:
        By the key of the record.

    Raises:
        StorageError: The store cannot be asked.
    """
    order = list({each.record: each for each in records}.values())
    keys = [key for each in order for key in (each.owner, each.updated)]
    found: list[bytes | None] = []
    for start in range(0, len(keys), KEYS_READ_AT_ONCE):
        found.extend(await load_each(storage, keys[start : start + KEYS_READ_AT_ONCE]))
    pairs = zip(order, found[::2], found[1::2], strict=True)
    stored = {each.record: StoredOwnership(owner, stored_number(updated)) for each, owner, updated in pairs}
    without = [key for key, held in stored.items() if held.revision == 0]  # deleted, lost, or frozen since
    for start in range(0, len(without), KEYS_READ_AT_ONCE):
        some = without[start : start + KEYS_READ_AT_ONCE]
        for key, value in zip(some, await load_each(storage, some), strict=True):
            if (stub := Stub.read(value)) is not None:
                stored[key] = StoredOwnership(stored[key].owner, stub.revision, is_frozen=True)
    return stored
