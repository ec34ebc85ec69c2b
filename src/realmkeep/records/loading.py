"""From stored bytes to a record: the one way in, for every record of every store.

Size cap, checksum, decoding, sanity, migrations, conversion to the record, validation, in that order.
"""

from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from realmkeep.errors import InvalidRecord
from realmkeep.records import json_codec
from realmkeep.records.codecs import decode, encode
from realmkeep.records.fields import CLAMP, QUARANTINE, REJECT, Validity
from realmkeep.records.issues import Issue, shown, worst
from realmkeep.records.limits import DEFAULT_LIMITS, Limits
from realmkeep.records.marking import peek_marks, put_back_marks
from realmkeep.records.migrations import Plain, migrate, stored_version
from realmkeep.records.record import Record, set_unknown_fields
from realmkeep.records.storable import field_type
from realmkeep.records.validation import validate

R = TypeVar("R", bound=Record)

ISSUES_IN_MESSAGE: Final = 5  # a message stays readable; the error's `issues` has all of them


class Loaded(msgspec.Struct, Generic[R], frozen=True):
    """What became of stored bytes.

    Attributes:
        record: The record, with its ephemeral fields at their defaults; None if the outcome is `QUARANTINE` or `REJECT`.
        outcome: The gravest of the issues' outcomes; `OK` where there are none.
        issues: Every rule that was broken, also those mended.
        migrated_from: The stored schema version, if it was older than the code's; else None.
        changed: The record differs from the stored bytes, because it was migrated or mended, and is to be saved at once:
            all its durable fields are marked. Otherwise none is.
        kind: The record's kind, for messages.
    """

    record: R | None
    outcome: Validity
    issues: tuple[Issue, ...]
    migrated_from: int | None
    changed: bool
    kind: str

    def require(self) -> R:
        """The record.

        Raises:
            InvalidRecord: There is none: it is quarantined or rejected. Its `issues` has the report.
        """
        if self.record is not None:
            return self.record
        told = [str(found) for found in self.issues if found.outcome > CLAMP]
        more = f"; and {len(told) - ISSUES_IN_MESSAGE} more" if len(told) > ISSUES_IN_MESSAGE else ""
        raise InvalidRecord(
            f"A stored {self.kind} is invalid: {'; '.join(told[:ISSUES_IN_MESSAGE])}{more}",
            issues=self.issues,
            hint="the bytes are kept; mend the record, or the rule",
        )


def load(stored: bytes, cls: type[R], *, limits: Limits = DEFAULT_LIMITS, accept_unchecked: bool = False) -> Loaded[R]:
    """Load a stored record of any version and either codec.

    What cannot be read is never replaced by a default. The bytes are only looked at: what becomes of those that are
    refused is the caller's to decide.

    Args:
        stored: The bytes.
        cls: The record class.
        limits: What the bytes, and what migrations make of them, must keep.
        accept_unchecked: Accept JSON without a checksum, from an imported store. A wrong checksum is never accepted.

    Returns:
        The record, or why there is none. A stored key that the class does not know is `QUARANTINE` unless it keeps
        unknown ones, and so are two keys of a dictionary that mean the same (`"0"` and `"-0"` for whole numbers); a value
        of another type than its field, or a missing field without a default, is `REJECT`.

    Raises:
        RecordTooLarge: More bytes, nodes or nesting than `limits` allows, as stored or as migrated.
        Corrupt: Malformed, truncated, no record, or the checksum is wrong or missing.
        RecordTooNew: The schema version is newer than the code's.
        MigrationFailed: A migration step is missing, raised, or returned what is no record.
        Unstorable: A rule mended the record with a value that cannot be stored.
    """
    if stored.startswith(b"{"):  # the short way, for what this version wrote
        record = json_codec.decode_record(stored, cls, limits)
        if record is not None:
            return _judged(record, (), None, limits)
    plain = decode(stored, cls, limits=limits, accept_unchecked=accept_unchecked)
    info = cls.__realmkeep__
    version = stored_version(plain, info)
    migrated_from = None
    if version < info.version:
        plain = migrate(plain, info, limits=limits)
        migrated_from = version
    plain["version"] = info.version
    names = {"version", *cls.__blueprint__.names}
    unknown = {name: value for name, value in plain.items() if name not in names}
    issues: list[Issue] = []
    if unknown and not info.keep_unknown:
        rule = f"a field of {cls.__name__}, removed by a migration, or kept by keep_unknown"
        issues += [Issue(name, shown(value), rule, QUARANTINE) for name, value in unknown.items()]
    known = {name: value for name, value in plain.items() if name in names}
    try:
        record = msgspec.convert(known, cls, strict=True, str_keys=True)
    except msgspec.ValidationError:
        issues += _misfits(known, cls)
        return Loaded(None, worst(issues), tuple(issues), migrated_from, changed=False, kind=info.kind)
    issues += _merged(known, record)
    if unknown:
        set_unknown_fields(record, unknown)
    return _judged(record, tuple(issues), migrated_from, limits)


def _judged(record: R, found: tuple[Issue, ...], migrated_from: int | None, limits: Limits) -> Loaded[R]:
    issues = found + validate(record)
    outcome, kind = worst(issues), record.__realmkeep__.kind
    if outcome > CLAMP:
        return Loaded(None, outcome, issues, migrated_from, changed=False, kind=kind)
    changed = migrated_from is not None or outcome is CLAMP or peek_marks(record) != 0  # a rule may have assigned
    if changed:
        encode(record, limits=limits)  # what is to be saved at once can be saved
        put_back_marks(record, (1 << len(record.__realmkeep__.durable)) - 1)
    return Loaded(record, outcome, issues, migrated_from, changed, kind)


def _misfits(known: Plain, cls: type[Record]) -> list[Issue]:
    """Convert each field alone, so that every one that does not fit is named, and not only the first."""
    issues: list[Issue] = []
    for field in msgspec.structs.fields(cls):
        if field.name not in known:
            if field.required:
                issues.append(Issue(field.name, "missing", "present: it has no default", REJECT))
            continue
        try:
            msgspec.convert(known[field.name], field.type, strict=True, str_keys=True)
        except msgspec.ValidationError as error:
            what, _, at = str(error).partition(" - at `$")
            rule = f"{what[:1].lower()}{what[1:]}"
            issues.append(Issue(f"{field.name}{at.removesuffix('`')}", shown(known[field.name]), rule, REJECT))
    return issues


def _merged(known: Plain, record: Record) -> list[Issue]:
    """Dictionaries that lost an entry when their keys, all different as texts, became those of the field's type."""
    issues: list[Issue] = []
    for field in record.__realmkeep__.durable:
        made, stored = getattr(record, field.name), known.get(field.name)
        if not isinstance(made, dict) or not isinstance(stored, dict):
            continue
        entries = cast("Plain", stored)
        if len(cast("Plain", made)) == len(entries):
            continue
        twice = " and ".join(repr(key) for key in _colliding(entries, field_type(field.type, field.name)))
        issues.append(
            Issue(field.name, shown(entries), f"without two keys that mean the same ({twice:.80})", QUARANTINE)
        )
    return issues


def _colliding(entries: Plain, annotation: Any) -> list[str]:
    """The first keys that mean the same."""
    found: dict[object, list[str]] = {}
    for key, value in entries.items():
        (meant,) = msgspec.convert({key: value}, annotation, strict=True, str_keys=True)
        found.setdefault(meant, []).append(key)
    return next(keys for keys in found.values() if len(keys) > 1)
