"""What is kept: records, their fields, codecs, migrations, validation and loading. Knows no storage."""

from realmkeep.records.codecs import Codec, encode, written_checksum
from realmkeep.records.fields import (
    BATCHED,
    CHECKPOINT,
    CLAMP,
    IMMEDIATE,
    OK,
    QUARANTINE,
    REJECT,
    FieldInfo,
    Keyword,
    RecordInfo,
    Tier,
    Trigger,
    Validity,
    changed,
    drops_to,
    durable,
    ephemeral,
    rises,
)
from realmkeep.records.forking import Fork
from realmkeep.records.issues import Issue, issue
from realmkeep.records.limits import DEFAULT_LIMITS, Limits
from realmkeep.records.loading import Loaded, load
from realmkeep.records.marking import Observer, observe, peek_marks, put_back_marks, take_marks
from realmkeep.records.migrations import check_all, check_migrations
from realmkeep.records.record import Part, Record
from realmkeep.records.schema import Schema
from realmkeep.records.validation import validate_encoded

__all__ = [
    "BATCHED",
    "CHECKPOINT",
    "CLAMP",
    "DEFAULT_LIMITS",
    "IMMEDIATE",
    "OK",
    "QUARANTINE",
    "REJECT",
    "Codec",
    "FieldInfo",
    "Fork",
    "Issue",
    "Keyword",
    "Limits",
    "Loaded",
    "Observer",
    "Part",
    "Record",
    "RecordInfo",
    "Schema",
    "Tier",
    "Trigger",
    "Validity",
    "changed",
    "check_all",
    "check_migrations",
    "drops_to",
    "durable",
    "encode",
    "ephemeral",
    "issue",
    "load",
    "observe",
    "peek_marks",
    "put_back_marks",
    "rises",
    "take_marks",
    "validate_encoded",
    "written_checksum",
]
