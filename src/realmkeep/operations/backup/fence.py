"""The fence of a restored store: no server that ran before the restore can write into it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from realmkeep import keys
from realmkeep.errors import InvalidKey
from realmkeep.keeping.ownership.id_counter import ID_MAX, count_in
from realmkeep.keeping.ownership.revisions import stored_number
from realmkeep.keys import SERVER_ID_COUNTER
from realmkeep.storage import Delete, Failed, Put, Transaction, Unknown, load_each

if TYPE_CHECKING:
    from collections.abc import Sequence

    from realmkeep.storage import Effect, Storage

BATCH: Final = 500  # effects of one transaction; half of what a store takes
IDS_SKIPPED: Final = 2**20  # ids and serials that were given out after the backup; a million
# The marks of servers that ran: owners, leases, and the lists by which they hear of each other.
OF_SERVERS: Final = frozenset({"owner", "left", "lease", "notices", "control", "store-runs"})


async def fence_effects(storage: Storage, found: Sequence[str], *, now_us: int) -> list[Effect]:
    """The changes that fence a restored store off.

    Every owner goes, and every record gets a new revision, above every fencing token that was given out. A server that still
    holds a record then finds that another claim followed, and gives it up; otherwise it would take the restored state for a
    loss of the store, and write its own over it. The counter of ids goes on, so that no serial is given out twice.

    Args:
        storage: Connected.
        found: Every key of the store.
        now_us: The present, in microseconds since 1970.

    Raises:
        StorageError: The store cannot be reached.
    """
    parsed = [each for key in found if (each := _parse(key)) is not None]
    effects: list[Effect] = [Delete(key) for key in found if (each := _parse(key)) and each.role in OF_SERVERS]
    records = {(each.kind, each.id) for each in parsed if each.role == "record"}
    updated = [
        f"{each.kind}:{each.id}:updated"
        for each in parsed
        if each.role == "updated" and (each.kind, each.id) in records  # that of a deleted record expires
    ]
    for first in range(0, len(updated), BATCH):
        page = updated[first : first + BATCH]
        for key, stored in zip(page, await load_each(storage, page), strict=True):
            revision = stored_number(stored)
            if revision is not None:  # an unreadable one is quarantined at the login, as before
                effects.append(Put(key, b"%d" % max(now_us, revision + 1)))
    if SERVER_ID_COUNTER in found:
        (counter,) = await load_each(storage, [SERVER_ID_COUNTER])
        count = count_in(counter)
        if count is not None and count + IDS_SKIPPED < ID_MAX:
            effects.append(Put(SERVER_ID_COUNTER, b"%d" % (count + IDS_SKIPPED)))
    return effects


def _parse(key: str) -> keys.ParsedKey | None:
    try:
        return keys.parse(key)
    except InvalidKey:  # another program's
        return None


async def apply_effects(storage: Storage, effects: Sequence[Effect]) -> None:
    """Apply changes in batches, and return when all are durable.

    Raises:
        StorageError: The store refused one, or cannot be reached.
    """
    await write_effects(storage, effects)
    await storage.flush()


async def write_effects(storage: Storage, effects: Sequence[Effect]) -> None:
    """Apply changes in batches; `Storage.flush` makes them durable.

    Raises:
        StorageError: The store refused one, or cannot be reached.
    """
    for first in range(0, len(effects), BATCH):
        (outcome,) = await storage.write([Transaction((), effects[first : first + BATCH])])
        if isinstance(outcome, (Failed, Unknown)):
            raise outcome.error
