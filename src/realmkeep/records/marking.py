"""What has changed: every assignment to a durable field marks it, and a trigger that fires is seen at that assignment."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, Protocol, cast

import msgspec

from realmkeep.errors import Unstorable
from realmkeep.records.fields import IMMEDIATE, FieldInfo, RecordInfo, Tier
from realmkeep.records.issues import shown

_NO_TIER: Final = 99  # less urgent than any
_store: Final = (
    msgspec.structs.force_setattr
)  # durable values form no cycles, so the collector need not be told of them
set_tracked: Final = msgspec.Struct.__setattr__
"""Assign without bookkeeping what may refer back to the record: its marks, an ephemeral field."""


class Live(Protocol):
    """A record, as far as marking sees it."""

    __realmkeep__: ClassVar[RecordInfo]
    __blueprint__: ClassVar[Any]
    __marks__: "Marks"


class Observer(Protocol):
    """Who is told of a record's changes: its session. One a record; called on the thread that assigns."""

    def marked(self, record: Any, tier: Tier) -> None:
        """After the first durable change since the marks were taken, and after one that makes the record more urgent."""
        ...

    def triggered(self, record: Any, field: FieldInfo, old: Any, new: Any) -> None:
        """After an assignment for which the field's trigger fired."""
        ...

    def immediate_changed(self, record: Any, field: FieldInfo) -> None:
        """Before an `IMMEDIATE` field is assigned, or touched by name; if this raises, nothing has happened."""
        ...


class Sentry(Observer, Protocol):
    """An observer that sees every durable assignment: of a record whose ownership is lost, for example."""

    def assigning(self, record: Any, field: FieldInfo) -> None:
        """Before a durable field is assigned, or touched by name; if this raises, nothing has happened."""
        ...


class Marks:
    """A record's bookkeeping, outside its fields.

    Attributes:
        mask: The durable fields changed since the marks were taken, by `FieldInfo.index`.
        quiet: Those of them whose next assignment needs no bookkeeping, unless its trigger fires.
        fired: The fields whose trigger fired since the marks were taken.
        urgency: The most urgent tier among `mask`.
        takes: How often marks were taken: tells a fork whether a write came between.
        observer: Who is told.
        sentry: The observer, if it sees every assignment.
        checked: The CRC of the record's bytes when they were last found to be storable, or -1.
        within: What was checked last keeps the bounds that types can express.
        unknown: Stored fields that the class does not know and keeps; empty for most.
    """

    __slots__ = ("checked", "fired", "mask", "observer", "quiet", "sentry", "takes", "unknown", "urgency", "within")

    def __init__(self) -> None:
        self.mask = 0
        self.quiet = 0
        self.fired = 0
        self.urgency: int = _NO_TIER
        self.takes = 0
        self.observer: Observer | None = None
        self.sentry: Sentry | None = None
        self.checked = -1
        self.within = False
        self.unknown: Mapping[str, Any] = {}


class Markable:
    """Gives a record a place for its marks outside its fields. It is empty until first used: loading makes no marks."""

    __slots__ = ("__marks__",)
    __marks__: Marks


def marks_of(record: Live) -> Marks:
    """The record's own marks, made on first use."""
    try:
        return record.__marks__
    except AttributeError:
        marks = Marks()
        set_tracked(cast("Any", record), "__marks__", marks)
        return marks


def found_marks(record: Live) -> Marks | None:
    """The record's own marks, if it has any yet."""
    return getattr(record, "__marks__", None)


Plan = tuple[int, type | None, Callable[[Any, Any], bool] | None]
"""Of a durable field: its bit, the exact type of nearly all its values, and what its trigger asks."""
NO_PLAN: Final[Plan] = (0, None, None)


def assignment(plans: Mapping[str, Plan]) -> Callable[[Any, str, Any], None]:
    """Make the `__setattr__` of a record class. The first branch is the hot path: a field that is marked already."""
    plan_of = plans.get
    store = _store

    def __setattr__(self: Any, name: str, value: Any) -> None:  # noqa: N807 - the name that tracebacks show
        bit, exact, fires = plan_of(name, NO_PLAN)
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
                _fire(self, name, bit, old, value)
        else:
            assign(self, name, value)

    return __setattr__


def assign(record: Any, name: str, value: Any) -> None:
    """Assign with all bookkeeping.

    Raises:
        AttributeError: The record has no such field.
        Unstorable: The value has another type than the field.
        RealmkeepError: What an observer raises that refuses the change.
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
    value = fitted(type(record), field, value)
    marks = marks_of(record)
    if marks.observer is not None:
        _ask(record, marks, marks.observer, field)
    old = fired = None
    if field.trigger is not None:
        old = getattr(record, name)
        fired = field.trigger.fires(old, value)
    _store(record, name, value)
    _mark(record, marks, field)
    if fired:
        _fire(record, name, 1 << field.index, old, value)


def delete(record: Any, name: str) -> None:
    """Put an ephemeral field back at its default; what `del player.target` does.

    Raises:
        AttributeError: The field is durable, is at its default, or does not exist.
    """
    held = cast("dict[str, Any]", vars(record))
    if name not in held:
        raise AttributeError(f"{type(record).__name__}.{name} cannot be deleted", name=name, obj=record)
    del held[name]


def fitted(cls: Any, field: FieldInfo, value: Any) -> Any:
    """The value as a field of the record class stores it: an int becomes a float where a float is declared.

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
        f"{cls.__name__}.{field.name} is {wanted}, and the value assigned is {type(value).__name__}: {shown(value)}",
        hint=f"convert it, or declare the field as {type(value).__name__}",
    )


def _ask(record: Any, marks: Marks, observer: Observer, field: FieldInfo) -> None:
    if marks.sentry is not None:
        marks.sentry.assigning(record, field)
    if field.tier is IMMEDIATE:
        observer.immediate_changed(record, field)


def _mark(record: Any, marks: Marks, field: FieldInfo) -> None:
    bit = 1 << field.index
    marks.mask |= bit
    tier: Any = field.tier
    if tier is not IMMEDIATE and marks.sentry is None:
        marks.quiet |= bit
    if tier < marks.urgency:
        marks.urgency = tier
        if marks.observer is not None:
            marks.observer.marked(record, tier)


def _fire(record: Any, name: str, bit: int, old: Any, new: Any) -> None:
    marks: Marks = record.__marks__
    marks.fired |= bit
    if marks.observer is not None:
        marks.observer.triggered(record, record.__realmkeep__.fields[name], old, new)


def touch(record: Live, names: tuple[str, ...]) -> None:
    """Mark fields whose contents changed; see `Record.touch`.

    Raises:
        AttributeError: A name is not that of a durable field; nothing is marked.
        RealmkeepError: What an observer raises that refuses the change; names before it are marked.
    """
    info = record.__realmkeep__
    if not names:
        containers: tuple[int, ...] = record.__blueprint__.containers
        fields = [info.durable[index] for index in containers]
        fields = [field for field in fields if field.tier is not IMMEDIATE]
    else:
        wrong = [name for name in names if name not in info.fields or not info.fields[name].durable]
        if wrong:
            raise AttributeError(
                f"{type(record).__name__} has no durable field {wrong[0]!r} to touch", name=wrong[0], obj=record
            )
        fields = [info.fields[name] for name in names]
    marks = marks_of(record)
    for field in fields:
        if marks.observer is not None:
            _ask(record, marks, marks.observer, field)
        _mark(record, marks, field)


def observe(record: Live, observer: Observer | None) -> None:
    """Attach the one observer of a record, or detach it with None; marks collected so far stay.

    A `Sentry` is asked before every durable assignment. Attaching one costs other records nothing.

    Args:
        record: The record.
        observer: Who is told from now on.
    """
    marks = marks_of(record)
    marks.observer = observer
    marks.sentry = cast("Sentry", observer) if hasattr(observer, "assigning") else None
    marks.quiet = 0


def peek_marks(record: Live) -> int:
    """The durable fields changed since the marks were last taken, as a bit mask by `FieldInfo.index`."""
    marks = found_marks(record)
    return 0 if marks is None else marks.mask


def take_marks(record: Live) -> int:
    """Return the mask of `peek_marks` and clear it, and what `fired_fields` says with it."""
    marks = marks_of(record)
    mask = marks.mask
    marks.mask = marks.quiet = marks.fired = 0
    marks.urgency = _NO_TIER
    marks.takes += 1
    return mask


def put_back_marks(record: Live, mask: int) -> None:
    """Mark fields again whose write failed; the observer is not told: it is the one who calls this.

    Args:
        record: The record.
        mask: What `take_marks` returned.
    """
    marks = marks_of(record)
    set_mask(record, marks, marks.mask | mask)


def set_mask(record: Live, marks: Marks, mask: int) -> None:
    """Replace the mask, and what follows from it."""
    marks.mask = mask
    marks.quiet = 0
    marks.urgency = min((cast("Tier", field.tier) for field in masked(record, mask)), default=_NO_TIER)


def fired_fields(record: Live) -> tuple[str, ...]:
    """The names of the fields whose trigger fired since the marks were taken, also where a later assignment reverted it."""
    marks = found_marks(record)
    return () if marks is None else changed_fields(record, marks.fired)


def changed_fields(record: Live, mask: int) -> tuple[str, ...]:
    """The names of the fields in a mask, in the order of their definition."""
    return tuple(field.name for field in masked(record, mask))


def masked(record: Live, mask: int) -> tuple[FieldInfo, ...]:
    """The fields in a mask, in the order of their definition."""
    return tuple(field for field in record.__realmkeep__.durable if mask >> field.index & 1)
