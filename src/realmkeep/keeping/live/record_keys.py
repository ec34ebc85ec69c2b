"""The keys of a record in the store, and how large it may be there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from realmkeep import keys
from realmkeep.keeping.live.arguments import check_record
from realmkeep.records import Limits

if TYPE_CHECKING:
    from realmkeep.config import RecordsConfig
    from realmkeep.keys import RecordKeys
    from realmkeep.records import Record


def keys_of(cls: type[Record], id: int | str) -> RecordKeys:  # noqa: A002 - the field's own name
    """The keys of a record of this class.

    Raises:
        InvalidKey: The id is malformed.
        Misuse: `cls` is no class of records.
    """
    check_record(cls, "an id")
    info = cls.__realmkeep__
    return keys.record_keys(info.kind, id, suffix=info.suffix, internal=True)


def limits_of(records: RecordsConfig) -> Limits:
    """The caps on one record, as configured."""
    return Limits(records.bytes_max, records.depth_max, records.nodes_max)
