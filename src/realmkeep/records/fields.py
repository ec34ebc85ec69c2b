"""The classification of a record's field: durable or ephemeral, its tier, its trigger, its bounds."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Annotated, Any, Final, TypeAlias, TypeVar, overload

T = TypeVar("T")
Container = TypeVar("Container", list[Any], dict[Any, Any], set[Any], frozenset[Any], tuple[Any, ...])
"""The type of `default_factory=list`: a type checker takes the entries' type from the annotation, not from `list`."""


class KeywordMark(Enum):
    """The marker of `Keyword` in an annotation."""

    KEYWORD = "KEYWORD"


KEYWORD: Final = KeywordMark.KEYWORD
Keyword: TypeAlias = Annotated[str, KEYWORD]
"""Text that names something in the game, as `overworld`: a string in JSON, a keyword in s-expressions (`:overworld`)."""


class Tier(IntEnum):
    """How soon a change must be durable; the smaller, the more urgent."""

    IMMEDIATE = 1
    """Before the client hears yes; the field changes only inside a commit."""
    BATCHED = 2
    """Within 30 s, coalesced."""
    CHECKPOINT = 3
    """Within 60 s, coalesced."""


IMMEDIATE: Final = Tier.IMMEDIATE
BATCHED: Final = Tier.BATCHED
CHECKPOINT: Final = Tier.CHECKPOINT


class Validity(IntEnum):
    """The outcome for a stored record that breaks a rule; of several, the largest counts."""

    OK = 0
    """The record is valid."""
    CLAMP = 1
    """Safe to mend: the value is mended, used, and saved at once."""
    QUARANTINE = 2
    """An operator must decide: the login is denied and the bytes are kept."""
    REJECT = 3
    """Malformed or exploit-like: the record is refused and the bytes are kept."""


OK: Final = Validity.OK
CLAMP: Final = Validity.CLAMP
QUARANTINE: Final = Validity.QUARANTINE
REJECT: Final = Validity.REJECT


@dataclass(frozen=True)
class Trigger:
    """The condition under which an assignment makes the write urgent: `fires(old, new)`.

    Attributes:
        name: Its name in the schema.
        fires: Called at each assignment.
        ordered: The condition compares by order, so it suits numbers alone.
    """

    name: str
    fires: Callable[[Any, Any], bool]
    ordered: bool = False


rises: Final = Trigger("rises", lambda old, new: new > old, ordered=True)
"""The new value is larger: a level-up."""
changed: Final = Trigger("changed", lambda old, new: new != old)
"""The new value differs."""


def drops_to(limit: float) -> Trigger:
    """The value falls from above `limit` to `limit` or below: `drops_to(0)` is a death."""
    return Trigger(f"drops_to({limit})", lambda old, new: old > limit >= new, ordered=True)


TriggerLike: TypeAlias = Trigger | Callable[[Any, Any], bool]


class Missing(Enum):
    """Distinguishes a field without a default from one with the default None."""

    MISSING = "MISSING"


MISSING: Final = Missing.MISSING


@dataclass(frozen=True)
class FieldInfo:
    """The declaration of one field.

    Attributes:
        name: The field's name in Python and JSON; s-expressions use `:kebab-case`.
        durable: The field is stored. If False, it is at its default after loading.
        tier: How soon a change must be durable; None for ephemeral fields.
        type: The resolved annotation.
        index: Its position among the durable fields.
        trigger: An assignment for which it fires is written at once.
        default: The default, or MISSING.
        default_factory: Makes the default, or None.
        ge: Least value allowed; of a container, of every number inside.
        le: Largest value allowed, likewise.
        length_max: Most characters of a text, entries of a container.
        known: The game's test for an allowed value, called at each check; None allows all.
        on_invalid: The outcome for a stored value outside its bounds.
        ranked: The board that ranks the records by this field, or None.
    """

    name: str
    durable: bool
    tier: Tier | None
    type: Any = None
    index: int = -1
    trigger: Trigger | None = None
    default: Any = MISSING
    default_factory: Callable[[], Any] | None = None
    ge: float | None = None
    le: float | None = None
    length_max: int | None = None
    known: Callable[[Any], bool] | None = None
    on_invalid: Validity = REJECT
    ranked: str | None = None


RESERVED_NAMES: Final = frozenset({"version", "crc", "readable_by"})
"""The names that a stored record has beside its fields."""


@dataclass(frozen=True)
class RecordInfo:
    """The declaration of a record class; every subclass of `Record` carries one as `__realmkeep__`.

    Attributes:
        kind: The first part of its keys.
        version: The current schema version, from 1.
        suffix: The last part of its record key (`objects` for zones), or empty.
        fields: All fields by name, in the order of their definition.
        durable: The durable ones, in that order: the order in which they are stored.
        keep_unknown: Stored keys without a field are kept and written back, instead of refused.
        journal: The journal has the commits and snapshots of its records.
        readable_by: The oldest version that may read, and write back, what this one writes; None if no older one may.
        migrations: `migrations[n]` takes a plain dictionary of version n to version n + 1; filled by `@Player.migration(n)`.
        former: `former[n]` has the types, at version n, of fields that the step from n changes or removes.
        rules: The functions across fields. Validation runs them after the fields' own bounds; `@Player.rule` adds one.
        conserved: The functions that count conserved things, by name; `Player.conserved` adds one.
        serials: The function that lists the serials of items, if there is one; `Player.serials` adds it.
        serial_fields: The field in which an item, or the record itself, has its serial or serials; beside `serials`.
    """

    kind: str
    version: int
    suffix: str
    fields: Mapping[str, FieldInfo]
    durable: tuple[FieldInfo, ...]
    keep_unknown: bool = False
    journal: bool = True
    readable_by: int | None = None
    migrations: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = field(default_factory=dict)
    former: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    rules: list[Callable[[Any], Any]] = field(default_factory=list)
    conserved: dict[str, Callable[[Any], int]] = field(default_factory=dict)
    serials: list[Callable[[Any], Iterable[int | None]]] = field(default_factory=list)
    serial_fields: list[str] = field(default_factory=list)


@overload
def durable(
    *,
    default: T,
    tier: Tier = ...,
    immediate_when: TriggerLike | None = ...,
    ge: float | None = ...,
    le: float | None = ...,
    length_max: int | None = ...,
    known: Callable[[Any], bool] | None = ...,
    on_invalid: Validity = ...,
    ranked: str | None = ...,
) -> T: ...
@overload
def durable(
    *,
    default_factory: type[Container],
    tier: Tier = ...,
    immediate_when: TriggerLike | None = ...,
    ge: float | None = ...,
    le: float | None = ...,
    length_max: int | None = ...,
    known: Callable[[Any], bool] | None = ...,
    on_invalid: Validity = ...,
    ranked: str | None = ...,
) -> Container: ...
@overload
def durable(
    *,
    default_factory: Callable[[], T],
    tier: Tier = ...,
    immediate_when: TriggerLike | None = ...,
    ge: float | None = ...,
    le: float | None = ...,
    length_max: int | None = ...,
    known: Callable[[Any], bool] | None = ...,
    on_invalid: Validity = ...,
    ranked: str | None = ...,
) -> T: ...
@overload
def durable(
    *,
    tier: Tier = ...,
    immediate_when: TriggerLike | None = ...,
    ge: float | None = ...,
    le: float | None = ...,
    length_max: int | None = ...,
    known: Callable[[Any], bool] | None = ...,
    on_invalid: Validity = ...,
    ranked: str | None = ...,
) -> Any: ...
def durable(
    *,
    default: Any = MISSING,
    default_factory: Callable[[], Any] | None = None,
    tier: Tier = BATCHED,
    immediate_when: TriggerLike | None = None,
    ge: float | None = None,
    le: float | None = None,
    length_max: int | None = None,
    known: Callable[[Any], bool] | None = None,
    on_invalid: Validity = REJECT,
    ranked: str | None = None,
) -> Any:
    """Declare a stored field: progress, or anything that accumulates.

    Args:
        default: The value of a new record; an immutable one.
        default_factory: Makes the value of a new record: `list`, `dict`, `set`, or a function.
        tier: How soon a change must be durable.
        immediate_when: `rises`, `changed`, `drops_to(n)` or a function of the old and the new value. An assignment that
            makes it true is written at once, on every tier.
        ge: Least value allowed in a stored record; of a container, of every number inside.
        le: Largest value allowed, likewise.
        length_max: Most characters of a text, or entries of a container.
        known: The game's test for a stored value (of a list: each entry; of a dictionary: each key). It is called at each
            check, so the game may read its lists later.
        on_invalid: `CLAMP`, `QUARANTINE` or `REJECT`: the outcome for a stored value that breaks these bounds. Only `ge`
            and `le` can clamp: to shorten a text or to drop an entry would destroy property.
        ranked: The board that ranks the records of this class by the field, a whole number: `keeper.board(name)`.
    """
    trigger = immediate_when
    if trigger is not None and not isinstance(trigger, Trigger):
        trigger = Trigger(getattr(trigger, "__name__", "function"), trigger)
    return FieldInfo(
        name="",
        durable=True,
        tier=tier,
        trigger=trigger,
        default=default,
        default_factory=default_factory,
        ge=ge,
        le=le,
        length_max=length_max,
        known=known,
        on_invalid=on_invalid,
        ranked=ranked,
    )


@overload
def ephemeral(*, default: T) -> T: ...
@overload
def ephemeral(*, default_factory: type[Container]) -> Container: ...
@overload
def ephemeral(*, default_factory: Callable[[], T]) -> T: ...
def ephemeral(*, default: Any = MISSING, default_factory: Callable[[], Any] | None = None) -> Any:
    """Declare a field that is never stored (a target, a cooldown, a buff): after loading it is at its default.

    Args:
        default: The value of a new or loaded record; an immutable one.
        default_factory: Makes that value.
    """
    return FieldInfo(name="", durable=False, tier=None, default=default, default_factory=default_factory)


def as_field(value: object) -> FieldInfo | None:
    """The declaration that `durable` or `ephemeral` left in a class body; None if `value` is something else."""
    return value if isinstance(value, FieldInfo) else None
