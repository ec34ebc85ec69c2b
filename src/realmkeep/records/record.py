"""`Record`, the base class of all that is stored, and `Part`, the base class of values inside a record."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self, TypeVar, cast, dataclass_transform, overload

import msgspec

from realmkeep.errors import DefinitionError, Misuse
from realmkeep.records.definition import (
    Blueprint,
    blueprint,
    build_record_info,
    collect_fields,
    part_fields,
    put_default,
    register_kind,
    value_types,
)
from realmkeep.records.economy import AmountT, SerialsT, add_conserved, add_serials
from realmkeep.records.fields import MISSING, REJECT, FieldInfo, RecordInfo, Validity, durable, ephemeral
from realmkeep.records.forking import Fork, fork_of, restore
from realmkeep.records.marking import (
    AssignmentPlan,
    Markable,
    NewerForm,
    assignment,
    delete,
    fit_value,
    found_marks,
    marks_of,
    set_tracked,
    touch,
)
from realmkeep.records.migrations import add_step
from realmkeep.records.schema import Schema
from realmkeep.records.storable import field_type
from realmkeep.records.validation import add_rule

NOTHING_UNKNOWN: Final[Mapping[str, Any]] = MappingProxyType({})
P = TypeVar("P", bound="PartMeta")
M = TypeVar("M", bound="RecordMeta")


class _LazyDefault:
    """An ephemeral field with a default_factory. The value is made at the first read, so loading a record makes none."""

    def __init__(self, info: FieldInfo) -> None:
        self._name, self._factory = info.name, info.default_factory

    def __get__(self, record: Any, owner: type) -> Any:
        if record is None:
            return self
        assert self._factory is not None
        value = self._factory()
        set_tracked(record, self._name, value)
        return value


@dataclass_transform(frozen_default=True, field_specifiers=(durable,))
class PartMeta(msgspec.StructMeta):
    """Makes Part classes."""

    def __new__(  # noqa: PYI019 - a metaclass may not say Self
        mcls: type[P], name: str, bases: tuple[type, ...], namespace: dict[str, Any]
    ) -> P:
        """Check the class body and make the class."""
        if any(getattr(base, "__realmkeep_part__", ()) for base in bases):
            raise DefinitionError(
                f"{name} derives from the Part {bases[0].__name__}, which has fields",
                hint="stored data do not show which of the two classes it is: declare all fields in one Part",
            )
        fields = part_fields(name, namespace)
        cls = super().__new__(mcls, name, bases, namespace, frozen=True, gc=False, forbid_unknown_fields=True)
        cast("Any", cls).__realmkeep_part__ = fields
        return cls


class Part(msgspec.Struct, metaclass=PartMeta):
    """An immutable element of a record (an item, a quest), stored as an object and untracked by the garbage collector.

    Its fields hold scalars, other Parts, tuples and frozensets; `durable(...)` may declare their bounds. To change a Part,
    replace it: `inventory[0] = msgspec.structs.replace(sword, count=2)`.
    """

    __realmkeep_part__: ClassVar[tuple[FieldInfo, ...]]


@dataclass_transform(kw_only_default=True, field_specifiers=(durable, ephemeral))
class RecordMeta(msgspec.StructMeta):
    """Makes record classes; `Record` has their guarantees."""

    def __new__(  # noqa: PYI019 - as above
        mcls: type[M],
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        kind: str | None = None,
        version: int | None = None,
        suffix: str = "",
        keep_unknown: bool = False,
        journal: bool = True,
        readable_by: int | None = None,
    ) -> M:
        """Check the class body and make the class."""
        inherited: dict[str, FieldInfo] = {}
        for base in reversed(bases):
            if hasattr(base, "__blueprint__"):
                raise DefinitionError(
                    f"{name} derives from the record {base.__name__}, which has a kind of its own",
                    hint="share fields through a Record without kind, and derive both from it",
                )
            inherited |= getattr(base, "__shared__", {})
        fields = inherited | collect_fields(name, namespace, {taken for base in bases for taken in dir(base)})
        if kind is None:
            if version is not None or suffix or keep_unknown or not journal or readable_by is not None:
                raise DefinitionError(f"{name} has no kind", hint=f'write class {name}(Record, kind="...", version=1)')
            cls = super().__new__(mcls, name, bases, namespace, kw_only=True, dict=True)
            cast("Any", cls).__shared__ = fields
            return cls
        internal = str(namespace.get("__module__", "")).startswith("realmkeep.")
        info = build_record_info(
            name,
            kind,
            1 if version is None else version,
            suffix,
            fields,
            keep_unknown=keep_unknown,
            journal=journal,
            readable_by=readable_by,
            internal=internal,
        )
        _add_generated_attributes(namespace, name, info)
        cls = super().__new__(
            mcls,
            name,
            bases,
            namespace,
            kw_only=True,
            dict=True,
            tag_field="version",
            tag=info.version,
        )
        cast("Any", cls).__blueprint__ = blueprint(cls, info)
        register_kind(cls, info)
        return cls

    if not TYPE_CHECKING:  # a type checker derives the constructor from the fields

        def __call__(cls, *positional: Any, **values: Any) -> Any:  # noqa: N805 - a metaclass's self is a class
            """Make a record of the fields given by keyword."""
            if not hasattr(cls, "__blueprint__"):
                raise Misuse(f"{cls.__name__} has no kind", hint="only a class with a kind makes records; derive one")
            fields = cls.__realmkeep__.fields
            if positional or not values.keys() <= fields.keys():
                raise _not_its_fields(cls.__name__, fields, positional, values)
            later = {name: values.pop(name) for name in cls.__ephemeral__ & values.keys()}
            for name in values.keys() & fields.keys():
                values[name] = fit_value(cls, fields[name], values[name])
            try:
                record = super().__call__(**values)
            except TypeError as error:  # a field without a default is missing
                raise Misuse(f"{cls.__name__}: {error}", hint="give every field that has no default") from error
            for name, value in later.items():
                set_tracked(record, name, value)
            return record


def _not_its_fields(
    name: str, fields: Mapping[str, FieldInfo], positional: tuple[Any, ...], values: Mapping[str, Any]
) -> Misuse:
    first = next(iter(fields), "")
    if positional:
        return Misuse(f"{name} takes its fields by name", hint=f"write {name}({first}=...)")
    unknown = ", ".join(sorted(values.keys() - fields.keys()))
    return Misuse(f"{name} has no field {unknown:.80}", hint=f"its fields: {', '.join(fields):.400}")


def _add_generated_attributes(namespace: dict[str, Any], name: str, info: RecordInfo) -> None:
    """Add to a class body the attributes that msgspec and marking need."""
    namespace["__annotations__"] = {
        field.name: field_type(field.type, f"{name}.{field.name}") for field in info.durable
    }
    namespace["__realmkeep__"] = info
    namespace["__ephemeral__"] = frozenset(info.fields) - {field.name for field in info.durable}
    namespace["__types__"] = {field.name: value_types(field.type) for field in info.durable}
    plans: dict[str, AssignmentPlan] = {}
    for field in info.fields.values():
        if field.durable:
            put_default(namespace, field)
            exact, _ = namespace["__types__"][field.name]
            plans[field.name] = (1 << field.index, exact, None if field.trigger is None else field.trigger.fires)
        else:
            namespace[field.name] = _LazyDefault(field) if field.default is MISSING else field.default
    namespace["__setattr__"] = assignment(plans)
    namespace["__delattr__"] = delete


MigrationT = TypeVar("MigrationT", bound=Callable[[dict[str, Any]], dict[str, Any]])
RuleT = TypeVar("RuleT", bound=Callable[[Any], Any])


class Record(Markable, msgspec.Struct, metaclass=RecordMeta):
    """The base class of all that is stored.

    ```python
    class Player(Record, kind="player", version=3):
        name: str = durable()
        hp: int = durable(default=100, ge=0, immediate_when=drops_to(0))
        inventory: list[Item] = durable(default_factory=list)
        target: int | None = ephemeral(default=None)
    ```

    Every field is durable or ephemeral. A field that is neither, a type that cannot be stored and any other declaration
    that cannot work is a `DefinitionError` when the class is defined. The constructor takes fields by keyword. Assigning
    a durable field marks it, at a cost of about 0.15 microseconds; a value of another type is refused with `Unstorable`.
    Reading costs as much as msgspec's. Two records are equal if their durable fields are.

    A class without `kind` is a base: the records derived from it have its fields and methods. A record with a kind cannot
    be derived from.

    Args:
        kind: The first part of its keys; `keys.check_kind` has the rules. No two records of a program share it.
        version: The schema version, from 1; raise it, and add a migration, when stored records must change.
        suffix: The last part of its record key: `objects` for `zone:town:objects`.
        keep_unknown: Stored fields that the class does not declare are kept and written back, instead of refused.
        journal: False leaves its records out of the journal, if the keeper writes one.
        readable_by: The oldest version whose code may read what this version writes, and write it back with the fields that
            it does not know; without it, only this version and newer ones. It permits added fields with a default, and
            nothing else; the guide of migrations has the rules.
    """

    __realmkeep__: ClassVar[RecordInfo]
    __blueprint__: ClassVar[Blueprint]

    def touch(self, *names: str) -> None:
        """Mark fields with changed contents: `player.inventory.append(...)` is not an assignment.

        Without a touch, the sweep finds the change within 10 s; with it, the deadline of the field's tier holds.

        Args:
            names: Durable fields. Without any, every list, dict and set is marked, except `IMMEDIATE` ones.

        Raises:
            AttributeError: A name belongs to no durable field.
            TierViolation: An `IMMEDIATE` field is touched outside a commit, and the session is strict.
        """
        touch(self, names)

    def fork(self) -> Fork[Self]:
        """Return an independent copy of the durable state: later changes of the record do not reach it."""
        return fork_of(self)

    def restore(self, fork: Fork[Self]) -> None:
        """Put the durable state of a fork back into this same record.

        Every field is again the same object as then, and lists, dictionaries and sets have their contents back: a
        reference into the record taken before the fork is valid again. No trigger fires and no observer can refuse.
        Marks are as they were. If a write took them in between, the fields whose values it stored differently are marked.
        Ephemeral fields stay as they are.

        Args:
            fork: A result of this record's `fork()`; it can be restored again.

        Raises:
            ValueError: The fork is of another record.
        """
        restore(self, fork)

    @classmethod
    def schema(cls) -> Schema:
        """Return the classification table: every field with its class, tier, trigger, type and bounds."""
        return Schema(cls.__realmkeep__)

    @classmethod
    def migration(cls, version: int, *, former: Mapping[str, Any] | None = None) -> Callable[[MigrationT], MigrationT]:
        """Register the step from `version` to `version + 1`: `@Player.migration(1)`.

        The step takes a plain dictionary and returns one; a second run must give the same result. Never delete a step.

        Args:
            version: The version that the step takes: from 0 (records without a version) to one below the current.
            former: The types, at `version`, of fields that the step retypes or removes: `former={"bag": dict[Keyword, int]}`.
                S-expressions of that version and older are read by them; JSON needs none.

        Raises:
            DefinitionError: There is no such version, it has a step already, or a former type could never be stored.
        """
        return add_step(cls.__realmkeep__, version, former or {})

    @overload
    @classmethod
    def rule(cls, function: RuleT, /) -> RuleT: ...
    @overload
    @classmethod
    def rule(cls, /, *, on_invalid: Validity) -> Callable[[RuleT], RuleT]: ...
    @classmethod
    def rule(cls, function: Callable[[Any], Any] | None = None, /, *, on_invalid: Validity = REJECT) -> Any:
        """Register a rule across fields: `@Player.rule`, or `@Player.rule(on_invalid=CLAMP)`.

        The rule takes a record, changes nothing, and returns None, an `issue(...)` or several. See `add_rule`.

        Args:
            function: The rule.
            on_invalid: `CLAMP`, `QUARANTINE` or `REJECT`: the outcome of issues without one of their own.

        Raises:
            DefinitionError: `on_invalid` is `OK`.
        """
        return (
            add_rule(cls.__realmkeep__, on_invalid)(function) if function else add_rule(cls.__realmkeep__, on_invalid)
        )

    @overload
    @classmethod
    def conserved(cls, name: str, function: AmountT, /) -> AmountT: ...
    @overload
    @classmethod
    def conserved(cls, name: str, /) -> Callable[[AmountT], AmountT]: ...
    @classmethod
    def conserved(cls, name: str, function: Any = None, /) -> Any:
        """Declare a thing that commits move, and do not make or destroy: `@Player.conserved("gold")`, on a function that counts it.

        A commit whose records and letters hold another amount after it than before must declare the difference with
        `keeper.tx.mint` or `burn`. In strict mode it is refused otherwise; in production it is counted and logged.

        Args:
            name: The thing; the same name in several classes is one thing.
            function: Takes a record, and returns how much it holds; it is called twice in each commit of the record. Without it, the
                result is a decorator for it.

        Raises:
            DefinitionError: The name is declared already or malformed; the function does not take one record.
        """
        add = partial(add_conserved, cls.__realmkeep__, name)
        return add if function is None else add(function)

    @overload
    @classmethod
    def serials(cls, function: SerialsT, /) -> SerialsT: ...
    @overload
    @classmethod
    def serials(cls, /, *, field: str) -> Callable[[SerialsT], SerialsT]: ...
    @classmethod
    def serials(cls, function: Any = None, /, *, field: str = "serial") -> Any:
        """Declare the items that exist once: `@Player.serials`, on a function that yields the serials in a record.

        A commit that makes or destroys one declares it with `keeper.tx.mint_serial` or `burn_serial`. A serial that two live records
        hold, or one record twice, is reported by the first commit of one of them.

        Args:
            function: Takes a record, and yields serials, or None for an item without; called twice in each commit of the record.
                Without it, the result is a decorator for it.
            field: The field of an item with its serial, or of the record with a list of them; `realmkeep item trace` looks there.

        Raises:
            DefinitionError: There is such a function already, it does not take one record, or the field has no name.
        """
        add = partial(add_serials, cls.__realmkeep__, field)
        return add if function is None else add(function)


def unknown_fields(record: Record) -> Mapping[str, Any]:
    """The stored fields that the record's class does not declare: kept by `keep_unknown`, or of a newer version.

    Those of a newer version that was found as an s-expression are texts in that notation; others are plain values.
    """
    marks = found_marks(record)
    return NOTHING_UNKNOWN if marks is None else MappingProxyType(marks.unknown)


def set_unknown_fields(record: Record, unknown: Mapping[str, Any]) -> None:
    """Keep stored fields that the class does not declare; they are written back with the record.

    Args:
        record: A record whose class says `keep_unknown`.
        unknown: Plain values by key, as decoded.
    """
    marks = marks_of(record)
    marks.unknown = dict(unknown)
    marks.checked_crc = marks.checked_beside_crc = -1


def set_newer(record: Record, form: NewerForm) -> None:
    """Note that a newer version wrote the record: it is written back under that version.

    Args:
        record: A record with the fields of its class; `set_unknown_fields` keeps the others.
        form: Its stored form.
    """
    marks = marks_of(record)
    marks.newer = form
    marks.checked_crc = marks.checked_beside_crc = -1


def written_version(record: Record) -> int:
    """The version under which the record is written: its class's, or the newer one under which it was stored."""
    marks = found_marks(record)
    return record.__realmkeep__.version if marks is None or marks.newer is None else marks.newer.version
