"""What is kept: records, their fields, codecs, migrations, validation and loading. Knows no storage."""

from realmkeep.records.codecs import encode
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
from realmkeep.records.record import Part, Record
from realmkeep.records.schema import Schema

__all__ = [
    "BATCHED",
    "CHECKPOINT",
    "CLAMP",
    "DEFAULT_LIMITS",
    "IMMEDIATE",
    "OK",
    "QUARANTINE",
    "REJECT",
    "FieldInfo",
    "Fork",
    "Issue",
    "Keyword",
    "Limits",
    "Loaded",
    "Part",
    "Record",
    "RecordInfo",
    "Schema",
    "Tier",
    "Trigger",
    "Validity",
    "changed",
    "drops_to",
    "durable",
    "encode",
    "ephemeral",
    "issue",
    "load",
    "rises",
]
