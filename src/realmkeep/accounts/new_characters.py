"""The first character of an account, made in the transaction of its registration."""

from collections.abc import Callable
from typing import TypeAlias

from realmkeep.accounts.account import CharacterId
from realmkeep.config import RecordsConfig
from realmkeep.keeping.unowned_records import Also, new_record
from realmkeep.records.record import Record
from realmkeep.storage import Append, Put

EntryOfNew: TypeAlias = Callable[[Record, str, bytes, int], Append | None]
"""Makes the entry of a journal for a new record, from it, its key, its bytes and its revision; None for none."""


def new_character(
    record: Record, character_id: CharacterId, now_us: int, records: RecordsConfig, entry_of_new: EntryOfNew | None
) -> list[Also]:
    """The guards and effects that create a character, with its entry in the journal.

    Args:
        record: Its first value.
        character_id: Its id.
        now_us: Its first revision.
        records: Its codec, and the caps on it.
        entry_of_new: Makes the entry; None for none.

    Raises:
        RecordError: The record is too large or cannot be stored.
    """
    made = new_record(record, character_id, now_us=now_us, records=records)
    if entry_of_new is not None:
        key = made[0].key
        stored = next(each.value for each in made if isinstance(each, Put) and each.key == key)
        entry = entry_of_new(record, key, stored, now_us)
        made += [] if entry is None else [entry]
    return made
