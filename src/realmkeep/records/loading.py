"""Loading: the one path from stored bytes to a record, for every record of every store.

Its steps: size cap, checksum, decoding, sanity, migrations, conversion to the record, validation, in that order.
"""

from typing import Any, Final, Generic, TypeVar, cast

import msgspec

from realmkeep.errors import InvalidRecord
from realmkeep.records import json_codec
from realmkeep.records.codecs import decode, encode
from realmkeep.records.fields import CLAMP, QUARANTINE, REJECT, Validity
from realmkeep.records.issues import Issue, gravest_outcome, short_repr
from realmkeep.records.limits import DEFAULT_LIMITS, Limits
from realmkeep.records.marking import peek_marks, put_back_marks
from realmkeep.records.migrations import stored_version, take_readable_by, take_steps
from realmkeep.records.newer import keep_newer
from realmkeep.records.plain import Plain
from realmkeep.records.record import Record, set_unknown_fields
from realmkeep.records.storable import field_type
from realmkeep.records.validation import validate

R = TypeVar("R", bound=Record)

ISSUES_IN_MESSAGE: Final = 5  # a message stays readable; the error's `issues` has all of them


class Loaded(msgspec.Struct, Generic[R], frozen=True):
    """The result of loading stored bytes.

    Attributes:
        record: The record, with its ephemeral fields at their defaults; None if the outcome is `QUARANTINE` or `REJECT`.
        outcome: The gravest of the issues' outcomes; `OK` without issues.
        issues: Every broken rule, also the mended ones.
        migrated_from: The stored schema version, if it was older than the code's; else None.
        changed: The record was migrated or mended, so it differs from the stored bytes and must be saved at once; all
            its durable fields are marked. If False, none is marked.
        kind: The record's kind, for messages.
    """

    record: R | None
    outcome: Validity
    issues: tuple[Issue, ...]
    migrated_from: int | None
    changed: bool
    kind: str

    def require(self) -> R:
        """Return the record.

        Raises:
            InvalidRecord: The record is quarantined or rejected. The error's `issues` has the report.
        """
        if self.record is not None:
            return self.record
        told = [str(found) for found in self.issues if found.outcome > CLAMP]
        more = f"; and {len(told) - ISSUES_IN_MESSAGE} more" if len(told) > ISSUES_IN_MESSAGE else ""
        raise InvalidRecord(
            f"A stored {self.kind} is invalid: {'; '.join(told[:ISSUES_IN_MESSAGE])}{more}",
            issues=self.issues,
            hint="the bytes are kept; mend the record or change the rule",
        )


def load(stored: bytes, cls: type[R], *, limits: Limits = DEFAULT_LIMITS, accept_unchecked: bool = False) -> Loaded[R]:
    """Load a stored record of any version and either codec.

    Unreadable bytes are never replaced by a default. Loading changes no stored bytes: the caller decides about refused
    ones.

    Args:
        stored: The bytes.
        cls: The record class.
        limits: The caps on the bytes, and on the result of each migration step.
        accept_unchecked: Accept JSON without a checksum, from an imported store. A wrong checksum is never accepted.

    Returns:
        The record, or the issues that exclude it. `QUARANTINE`: a stored key that the class does not declare, unless it
        keeps unknown ones or the record is of a newer version that is readable by this one; and two keys of a dictionary
        that mean the same (`"0"` and `"-0"` for whole numbers).
        `REJECT`: a value of another type than its field, and a missing field without a default.

    Raises:
        RecordTooLarge: More bytes, nodes or nesting than `limits` allows, as stored or as migrated.
        Corrupt: Malformed, truncated, not a record, or the checksum is wrong or missing.
        RecordTooNew: The schema version is newer than the code's, and not readable by it.
        MigrationFailed: A migration step is missing, raised, or did not return a record.
        Unstorable: A rule mended the record with a value that cannot be stored.
    """
    if stored.startswith(b"{"):  # the fast path, for bytes written by this version
        record = json_codec.decode_record(stored, cls, limits)
        if record is not None:
            return _validated(record, (), None, limits)
    plain = decode(stored, cls, limits=limits, accept_unchecked=accept_unchecked)
    info = cls.__realmkeep__
    newer = take_readable_by(plain, info)
    version = info.version if newer else stored_version(plain, info)
    migrated_from = None
    if version < info.version:
        plain = take_steps(plain, info, version, limits=limits)
        migrated_from = version
    plain["version"] = info.version
    names = {"version", *cls.__blueprint__.names}
    unknown = {name: value for name, value in plain.items() if name not in names}
    issues: list[Issue] = []
    if unknown and not info.keep_unknown and newer is None:
        rule = f"a field of {cls.__name__}, removed by a migration, or kept by keep_unknown"
        issues += [Issue(name, short_repr(value), rule, QUARANTINE) for name, value in unknown.items()]
    known = {name: value for name, value in plain.items() if name in names}
    try:
        record = msgspec.convert(known, cls, strict=True, str_keys=True)
    except msgspec.ValidationError:
        issues += _misfits(known, cls)
        return Loaded(None, gravest_outcome(issues), tuple(issues), migrated_from, changed=False, kind=info.kind)
    issues += _colliding_keys(known, record)
    if newer is not None:
        keep_newer(record, stored, unknown, newer, limits)
    elif unknown:
        set_unknown_fields(record, unknown)
    return _validated(record, tuple(issues), migrated_from, limits)


def _validated(record: R, found: tuple[Issue, ...], migrated_from: int | None, limits: Limits) -> Loaded[R]:
    issues = found + validate(record)
    outcome, kind = gravest_outcome(issues), record.__realmkeep__.kind
    if outcome > CLAMP:
        return Loaded(None, outcome, issues, migrated_from, changed=False, kind=kind)
    changed = migrated_from is not None or outcome is CLAMP or peek_marks(record) != 0  # a rule may have assigned
    if changed:
        encode(record, limits=limits)  # prove that the record, which must be saved at once, can be saved
        put_back_marks(record, (1 << len(record.__realmkeep__.durable)) - 1)
    return Loaded(record, outcome, issues, migrated_from, changed, kind)


def _misfits(known: Plain, cls: type[Record]) -> list[Issue]:
    """Convert each field alone, so that the report names every misfit and not only the first."""
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
            issues.append(Issue(f"{field.name}{at.removesuffix('`')}", short_repr(known[field.name]), rule, REJECT))
    return issues


def _colliding_keys(known: Plain, record: Record) -> list[Issue]:
    """Report dictionaries that lost an entry because two text keys became the same key of the field's type."""
    issues: list[Issue] = []
    for field in record.__realmkeep__.durable:
        made, stored = getattr(record, field.name), known.get(field.name)
        if not isinstance(made, dict) or not isinstance(stored, dict):
            continue
        entries = cast("Plain", stored)
        if len(cast("Plain", made)) == len(entries):
            continue
        twice = " and ".join(repr(key) for key in _first_collision(entries, field_type(field.type, field.name)))
        issues.append(
            Issue(field.name, short_repr(entries), f"without two keys that mean the same ({twice:.80})", QUARANTINE)
        )
    return issues


def _first_collision(entries: Plain, annotation: Any) -> list[str]:
    """Return the first keys that mean the same."""
    found: dict[object, list[str]] = {}
    for key, value in entries.items():
        (meant,) = msgspec.convert({key: value}, annotation, strict=True, str_keys=True)
        found.setdefault(meant, []).append(key)
    return next(keys for keys in found.values() if len(keys) > 1)
