from realmkeep.records.marking import masked, peek_marks
from realmkeep.records.record import Record


def changed_fields(record: Record, mask: int | None = None) -> tuple[str, ...]:
    """The names of the fields in a mask, by default the record's marks, in the order of their definition."""
    return tuple(field.name for field in masked(record, peek_marks(record) if mask is None else mask))
