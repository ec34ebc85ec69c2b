"""The data model: records, their fields, codecs, migrations, validation and loading. It knows no storage.

Messages use the s-expression reader too. `read_sexpr` turns the text of a Lisp program into data under the caps of
`Limits`; it evaluates and interns nothing. `key_name` and `key_text` map `:player-id` to `player_id` and back, and
`string_text` writes a string.
"""

from realmkeep.records.codecs import ENCODERS, Codec, encode, written_checksum
from realmkeep.records.definition import ranked_field, registered
from realmkeep.records.economy import Held, held_by
from realmkeep.records.fields import (
    BATCHED,
    CHECKPOINT,
    CLAMP,
    IMMEDIATE,
    OK,
    QUARANTINE,
    REJECT,
    RESERVED_NAMES,
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
from realmkeep.records.forking import Fork, fork_of
from realmkeep.records.issues import Issue, issue
from realmkeep.records.limits import DEFAULT_LIMITS, Limits
from realmkeep.records.loading import Loaded, load
from realmkeep.records.marking import (
    Observer,
    leave_unmarked,
    mark_again,
    observe,
    peek_marks,
    put_back_marks,
    take_marks,
)
from realmkeep.records.migrations import check_all, check_migrations
from realmkeep.records.record import Part, Record, unknown_fields, written_version
from realmkeep.records.schema import Schema
from realmkeep.records.sexpr.names import Colon, Symbol, key_name, key_text, string_text
from realmkeep.records.sexpr.reader import NIL, Datum
from realmkeep.records.sexpr.reader import read as read_sexpr
from realmkeep.records.validation import validate_encoded

__all__ = [
    "BATCHED",
    "CHECKPOINT",
    "CLAMP",
    "DEFAULT_LIMITS",
    "ENCODERS",
    "IMMEDIATE",
    "NIL",
    "OK",
    "QUARANTINE",
    "REJECT",
    "RESERVED_NAMES",
    "Codec",
    "Colon",
    "Datum",
    "FieldInfo",
    "Fork",
    "Held",
    "Issue",
    "Keyword",
    "Limits",
    "Loaded",
    "Observer",
    "Part",
    "Record",
    "RecordInfo",
    "Schema",
    "Symbol",
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
    "fork_of",
    "held_by",
    "issue",
    "key_name",
    "key_text",
    "leave_unmarked",
    "load",
    "mark_again",
    "observe",
    "peek_marks",
    "put_back_marks",
    "ranked_field",
    "read_sexpr",
    "registered",
    "rises",
    "string_text",
    "take_marks",
    "unknown_fields",
    "validate_encoded",
    "written_checksum",
    "written_version",
]
