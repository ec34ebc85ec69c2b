"""Marks: every assignment to a durable field is noted, and a trigger fires at the assignment itself."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Protocol, cast

import msgspec

from realmkeep.errors import Unstorable
from realmkeep.records.fields import IMMEDIATE, FieldInfo, RecordInfo, Tier
from realmkeep.records.issues import short_repr
from realmkeep.records.limits import Limits

_NO_TIER: Final = 99  # less urgent than any
_ALL: Final = -1  # every bit
_store: Final = msgspec.structs.force_setattr  # untracked by the garbage collector: durable values form no cycles
set_tracked: Final = msgspec.Struct.__setattr__
"""Assign, without marking, a value that may refer back to the record: its marks, an ephemeral field."""


class MarkedRecord(Protocol):
    """The part of a record that marking uses."""

    __realmkeep__: ClassVar[RecordInfo]
    __blueprint__: ClassVar[Any]
    __marks__: "Marks"


class Observer(Protocol):
    """The listener to a record's changes: its session. A record has one; it is called on the assigning thread."""

    def marked(self, record: Any, tier: Tier) -> None:
        """After the first durable change since the marks were taken, and after each change to a more urgent tier."""
        ...

    def triggered(self, record: Any, field: FieldInfo, old: Any, new: Any) -> None:
        """After an assignment for which the field's trigger fired."""
        ...

    def immediate_changed(self, record: Any, field: FieldInfo) -> None:
        """Before an `IMMEDIATE` field is assigned, or touched by name; if this raises, the field is unchanged."""
        ...


class AssignmentObserver(Observer, Protocol):
    """An observer that is called before every durable assignment, for example to refuse it once ownership is lost."""

    def assigning(self, record: Any, field: FieldInfo) -> None:
        """Before a durable field is assigned, or touched by name; if this raises, the field is unchanged."""
        ...


class NewerForm(Protocol):
    """The stored form of a record that a newer version wrote."""

    @property
    def version(self) -> int:
        """Its stored version."""
        ...

    def encode(self, record: Any, fields: bytes, limits: Limits) -> bytes:
        """Encode it with the fields of this code, which stand in `fields` as JSON, and those that only the newer one knows."""
        ...


class Marks:
    """A record's bookkeeping, outside its fields.

    Attributes:
        mask: The durable fields changed since the marks were taken, by `FieldInfo.index`.
        quiet: The fields of `mask` that need no bookkeeping at their next assignment, unless its trigger fires.
        urgency: The most urgent tier among `mask`.
        takes: How often marks were taken; it tells a fork that a write came between.
        observer: The record's observer.
        assignment_observer: The observer, if it is called before every assignment.
        checked_crc: The CRC of the record's bytes when they were last found to be storable, or -1.
        within_bounds: The bytes of `checked_crc` were within the bounds that types can express.
        unknown: Stored fields that the class does not declare and keeps; empty for most.
        newer: The form of a record that a newer version wrote, as it is written back; None for most.
        checked_beside_crc: As `checked_crc`, for a record with more than its fields, which encoding treats apart.
    """

    __slots__ = (
        "assignment_observer",
        "checked_beside_crc",
        "checked_crc",
        "mask",
        "newer",
        "observer",
        "quiet",
        "takes",
        "unknown",
        "urgency",
        "within_bounds",
    )

    def __init__(self) -> None:
        self.mask = 0
        self.quiet = 0
        self.urgency: int = _NO_TIER
        self.takes = 0
        self.observer: Observer | None = None
        self.assignment_observer: AssignmentObserver | None = None
        self.checked_crc = -1
        self.within_bounds = False
        self.unknown: Mapping[str, Any] = {}
        self.newer: NewerForm | None = None
        self.checked_beside_crc = -1


class Markable:
    """A record's place for its marks, outside its fields. It is empty until first used, so loading makes no marks."""

    __slots__ = ("__marks__",)
    __marks__: Marks


def marks_of(record: MarkedRecord) -> Marks:
    """Return the record's marks, made on first use."""
    try:
        return record.__marks__
    except AttributeError:
        marks = Marks()
        set_tracked(cast("Any", record), "__marks__", marks)
        return marks


def found_marks(record: MarkedRecord) -> Marks | None:
    """Return the record's marks, or None if it has none yet."""
    return getattr(record, "__marks__", None)


AssignmentPlan = tuple[int, type | None, Callable[[Any, Any], bool] | None]
"""A durable field's bit, the usual exact type of its values, and its trigger's condition."""
NO_ASSIGNMENT_PLAN: Final[AssignmentPlan] = (0, None, None)


def assignment(plans: Mapping[str, AssignmentPlan]) -> Callable[[Any, str, Any], None]:
    """Make the `__setattr__` of a record class. Its first branch is the hot path: a field that is already marked."""
    plan_of = plans.get
    store = _store

    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807 - the name that tracebacks show
        bit, exact, fires = plan_of(name, NO_ASSIGNMENT_PLAN)
        try:
            quiet = bit & self.__marks__.quiet
        except AttributeError:
            quiet = 0
        if quiet and type(value) is exact:
            if fires is None:
                store(self, name, value)
                return
            old = getattr(self, name)
            fired = fires(old, value)
            store(self, name, value)
            if fired:
                _fire(self, name, old, value)
        else:
            assign(self, name, value)

    return __setattr__


def assign(record: Any, name: str, value: Any) -> None:
    """Assign with all bookkeeping.

    Raises:
        AttributeError: The record has no such field.
        Unstorable: The value has another type than the field.
        RealmkeepError: The observer refuses the change.
    """
    info: RecordInfo = record.__realmkeep__
    field = info.fields.get(name)
    if field is None:
        raise AttributeError(
            f"{type(record).__name__} has no field {name!r}; declare it with durable() or ephemeral()",
            name=name,
            obj=record,
        )
    if not field.durable:
        set_tracked(record, name, value)
        return
    value = fit_value(type(record), field, value)
    marks = marks_of(record)
    if marks.observer is not None:
        _ask_observer(record, marks, marks.observer, field)
    old = fired = None
    if field.trigger is not None:
        old = getattr(record, name)
        fired = field.trigger.fires(old, value)
    _store(record, name, value)
    _mark(record, marks, field)
    if fired:
        _fire(record, name, old, value)


def delete(record: Any, name: str) -> None:
    """Put an ephemeral field back at its default: `del player.target`.

    Raises:
        AttributeError: The field is durable, is at its default, or does not exist.
    """
    held = cast("dict[str, Any]", vars(record))
    if name not in held:
        raise AttributeError(f"{type(record).__name__}.{name} cannot be deleted", name=name, obj=record)
    del held[name]


def fit_value(cls: Any, field: FieldInfo, value: Any) -> Any:
    """Convert a value for a field of the record class: an int becomes a float if the field is a float.

    Raises:
        Unstorable: It has another type than the field.
    """
    exact, allowed = cls.__types__[field.name]
    if type(value) is exact:
        return value
    if isinstance(value, allowed) and not (isinstance(value, bool) and bool not in allowed):
        return value
    if float in allowed and type(value) is int and abs(value) <= sys.float_info.max:
        return float(value)
    wanted = " or ".join(kind.__name__ for kind in allowed)
    raise Unstorable(
        f"{cls.__name__}.{field.name} is {wanted}; the assigned value is {type(value).__name__}: {short_repr(value)}",
        hint=f"convert it, or declare the field as {type(value).__name__}",
    )


def _ask_observer(record: Any, marks: Marks, observer: Observer, field: FieldInfo) -> None:
    if marks.assignment_observer is not None:
        marks.assignment_observer.assigning(record, field)
    if field.tier is IMMEDIATE:
        observer.immediate_changed(record, field)


def _mark(record: Any, marks: Marks, field: FieldInfo) -> None:
    bit = 1 << field.index
    marks.mask |= bit
    tier: Any = field.tier
    if tier is not IMMEDIATE and marks.assignment_observer is None:
        marks.quiet |= bit
    if tier < marks.urgency:
        marks.urgency = tier
        if marks.observer is not None:
            marks.observer.marked(record, tier)


def _fire(record: Any, name: str, old: Any, new: Any) -> None:
    marks: Marks = record.__marks__
    if marks.observer is not None:
        marks.observer.triggered(record, record.__realmkeep__.fields[name], old, new)


def touch(record: MarkedRecord, names: tuple[str, ...]) -> None:
    """Mark fields with changed contents; see `Record.touch`.

    Raises:
        AttributeError: A name belongs to no durable field; no field is marked.
        RealmkeepError: The observer refuses the change; the names before it are marked.
    """
    info = record.__realmkeep__
    for name in names:
        if name not in info.fields or not info.fields[name].durable:
            raise AttributeError(
                f"{type(record).__name__} has no durable field {name!r} to touch", name=name, obj=record
            )
    marks = marks_of(record)
    if marks.quiet == _ALL:
        return
    if names:
        fields = [info.fields[name] for name in names]
    else:
        containers: tuple[int, ...] = record.__blueprint__.containers
        fields = [info.durable[index] for index in containers if info.durable[index].tier is not IMMEDIATE]
    for field in fields:
        if marks.observer is not None:
            _ask_observer(record, marks, marks.observer, field)
        _mark(record, marks, field)


def observe(record: MarkedRecord, observer: Observer | None) -> None:
    """Attach the one observer of a record, or detach it with None; marks collected so far stay.

    A `AssignmentObserver` is called before every durable assignment; records without one pay nothing for that.

    Args:
        record: The record.
        observer: The observer from now on.
    """
    marks = marks_of(record)
    marks.observer = observer
    marks.assignment_observer = cast("AssignmentObserver", observer) if hasattr(observer, "assigning") else None
    marks.quiet = 0


def leave_unmarked(record: MarkedRecord) -> None:
    """Let assignments and touches go unmarked until `mark_again`: a commit writes the record whole, or restores it."""
    marks_of(record).quiet = _ALL


def mark_again(record: MarkedRecord) -> None:
    """End `leave_unmarked`."""
    marks_of(record).quiet = 0


def peek_marks(record: MarkedRecord) -> int:
    """The durable fields changed since the marks were last taken, as a bit mask by `FieldInfo.index`."""
    marks = found_marks(record)
    return 0 if marks is None else marks.mask


def take_marks(record: MarkedRecord) -> int:
    """Return the mask of `peek_marks` and clear it."""
    try:
        marks = record.__marks__
    except AttributeError:  # nothing was ever marked
        return 0
    mask = marks.mask
    marks.mask = marks.quiet = 0
    marks.urgency = _NO_TIER
    marks.takes += 1
    return mask


def put_back_marks(record: MarkedRecord, mask: int) -> None:
    """Mark the fields of a failed write again. The observer is not called, because it is the caller.

    Args:
        record: The record.
        mask: The result of `take_marks`.
    """
    marks = marks_of(record)
    set_mask(record, marks, marks.mask | mask)


def set_mask(record: MarkedRecord, marks: Marks, mask: int) -> None:
    """Replace the mask, and the urgency that follows from it."""
    marks.mask = mask
    marks.quiet = 0
    marks.urgency = min((cast("Tier", field.tier) for field in masked(record, mask)), default=_NO_TIER)


def masked(record: MarkedRecord, mask: int) -> tuple[FieldInfo, ...]:
    """The fields in a mask, in the order of their definition."""
    return tuple(field for field in record.__realmkeep__.durable if mask >> field.index & 1)
