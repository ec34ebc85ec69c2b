"""How a field of a record is classified: durable or ephemeral, how urgent, what triggers a write, what is valid."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Annotated, Any, Final, TypeAlias, TypeVar, overload

T = TypeVar("T")
Container = TypeVar("Container", list[Any], dict[Any, Any], set[Any], frozenset[Any], tuple[Any, ...])
"""Of `default_factory=list`, whose entries the annotation tells: otherwise a checker would find them unknown."""


class KeywordMark(Enum):
    """Marks, in an annotation, text that names something."""

    KEYWORD = "KEYWORD"


KEYWORD: Final = KeywordMark.KEYWORD
Keyword: TypeAlias = Annotated[str, KEYWORD]
"""Text that names something the game knows, as `overworld`: a string in JSON, a keyword in s-expressions (`:overworld`)."""


class Tier(IntEnum):
    """How soon a change must be durable; the smaller, the more urgent."""

    IMMEDIATE = 1
    """Before the client hears yes: changes only inside a commit."""
    BATCHED = 2
    """Within 30 s, coalesced."""
    CHECKPOINT = 3
    """Within 60 s, coalesced."""


IMMEDIATE: Final = Tier.IMMEDIATE
BATCHED: Final = Tier.BATCHED
CHECKPOINT: Final = Tier.CHECKPOINT


class Validity(IntEnum):
    """What becomes of a stored record that breaks a rule; of several, the largest."""

    OK = 0
    """Nothing is wrong."""
    CLAMP = 1
    """Safe to mend: mended, used, and saved at once."""
    QUARANTINE = 2
    """An operator must look: the login is denied and the bytes are kept."""
    REJECT = 3
    """Malformed or exploit-like: refused, and the bytes are kept."""


OK: Final = Validity.OK
CLAMP: Final = Validity.CLAMP
QUARANTINE: Final = Validity.QUARANTINE
REJECT: Final = Validity.REJECT


@dataclass(frozen=True)
class Trigger:
    """When an assignment makes a write urgent: `fires(old, new)`.

    Attributes:
        name: Printed in the schema.
        fires: Asked at each assignment.
        ordered: It compares by order, so it is for numbers alone.
    """

    name: str
    fires: Callable[[Any, Any], bool]
    ordered: bool = False


rises: Final = Trigger("rises", lambda old, new: new > old, ordered=True)
"""The new value is larger: a level-up."""
changed: Final = Trigger("changed", lambda old, new: new != old)
"""The new value differs."""


def drops_to(limit: float) -> Trigger:
    """The value falls to `limit` or below, from above it: a death with `drops_to(0)`."""
    return Trigger(f"drops_to({limit})", lambda old, new: old > limit >= new, ordered=True)


TriggerLike: TypeAlias = Trigger | Callable[[Any, Any], bool]


class Missing(Enum):
    """Tells a default of None from no default."""

    MISSING = "MISSING"


MISSING: Final = Missing.MISSING


@dataclass(frozen=True)
class FieldInfo:
    """Everything Realmkeep knows of one field. `type` is the resolved annotation, `index` its place among the durable fields.

    Attributes:
        name: The field's name in Python and JSON; s-expressions use `:kebab-case`.
        durable: False: never stored, and back at its default after loading.
        tier: None for ephemeral fields.
        trigger: An assignment for which it fires is written at once.
        default: The default, or MISSING.
        default_factory: Makes the default, or None.
        ge: Least value allowed; of a container, of every number inside.
        le: Largest value allowed, likewise.
        length_max: Most characters of a text, entries of a container.
        known: The allowed values, as the game gives them: asked at each check; None allows all.
        on_invalid: What a stored value outside its bounds leads to.
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


@dataclass(frozen=True)
class RecordInfo:
    """What a record class declares; every subclass of `Record` carries one as `__realmkeep__`.

    Attributes:
        kind: The first part of its keys.
        version: The current schema version, from 1.
        suffix: The last part of its record key (`objects` for zones), or empty.
        fields: All fields by name, in the order of their definition.
        durable: The durable ones, in that order: the order in which they are stored.
        keep_unknown: Stored keys that no field knows are kept and written back, instead of refused.
        migrations: `migrations[n]` takes a plain dictionary of version n to version n + 1; filled by `@Player.migration(n)`.
        former: `former[n]` has the types, at version n, of fields that the step from n changes or removes.
        rules: The functions across fields, run by validation after the fields' own bounds; filled by `@Player.rule`.
    """

    kind: str
    version: int
    suffix: str
    fields: Mapping[str, FieldInfo]
    durable: tuple[FieldInfo, ...]
    keep_unknown: bool = False
    migrations: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = field(default_factory=dict)
    former: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    rules: list[Callable[[Any], Any]] = field(default_factory=list)


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
) -> Any:
    """Declare a field that is stored: progress, anything that accumulates.

    Args:
        default: The value of a new record; an immutable one.
        default_factory: Makes the value of a new record: `list`, `dict`, `set`, or a function.
        tier: How soon a change must be durable.
        immediate_when: `rises`, `changed`, `drops_to(n)` or a function of the old and the new value: an assignment for
            which it is true is written at once, whatever the tier.
        ge: Least value allowed in a stored record; of a container, of every number inside.
        le: Largest value allowed, likewise.
        length_max: Most characters of a text, or entries of a container.
        known: Says whether a stored value (of a list: each entry, of a dictionary: each key) is one the game knows;
            called at each check, so the game's lists may be read later.
        on_invalid: `CLAMP`, `QUARANTINE` or `REJECT`: what a stored value that breaks these leads to. Only `ge` and `le`
            can clamp: shortening a text or dropping an entry would destroy property.
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
    )


@overload
def ephemeral(*, default: T) -> T: ...
@overload
def ephemeral(*, default_factory: type[Container]) -> Container: ...
@overload
def ephemeral(*, default_factory: Callable[[], T]) -> T: ...
def ephemeral(*, default: Any = MISSING, default_factory: Callable[[], Any] | None = None) -> Any:
    """Declare a field that is never stored: targets, cooldowns, buffs; back at its default after loading.

    Args:
        default: The value of a new or loaded record; an immutable one.
        default_factory: Makes that value.
    """
    return FieldInfo(name="", durable=False, tier=None, default=default, default_factory=default_factory)


def as_field(value: object) -> FieldInfo | None:
    """The declaration that `durable` or `ephemeral` left in a class body; None if `value` is something else."""
    return value if isinstance(value, FieldInfo) else None
