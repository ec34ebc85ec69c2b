"""The definition of a record or Part class: its fields are collected, and a declaration that cannot work is refused."""

import re
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Literal, get_args, get_origin
from weakref import WeakValueDictionary

import msgspec

from realmkeep.callables import fault_of
from realmkeep.errors import DefinitionError, InvalidKey
from realmkeep.keys import COMPANIONS, check_kind
from realmkeep.records.bounds import Bounds, BoundsCompiler
from realmkeep.records.fields import MISSING, RESERVED_NAMES, FieldInfo, RecordInfo, as_field
from realmkeep.records.narrowing import bounded_decoder
from realmkeep.records.schema import type_text
from realmkeep.records.storable import (
    MUTABLE,
    has_number_keys,
    immutable_type,
    is_mutable,
    literal_types,
    may_hide_nan,
    optional_members,
    resolved,
)

_SCALARS: Final = (bool, int, float, str)
_NUMBERS: Final = (int, float)
_ANNOTATIONS: Final = ("__annotations__", "__annotate__", "__annotate_func__")
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_BOARD: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


@dataclass(frozen=True)
class Blueprint:
    """The run-time facts of a record class beside its `RecordInfo`.

    Attributes:
        names: The durable fields' names, in order.
        containers: The indexes of the durable fields that are a list, dictionary or set.
        number_keys: A dictionary is keyed by whole numbers.
        nan_hides_in: The fields with a float that may be None: there a NaN, which JSON writes as null, looks valid.
        decoder: Reads the JSON of the current version, without the checksum.
        json_start: The first bytes of that JSON.
        json_end: Its `readable_by`, behind the fields and before the checksum; empty if no older version may read it.
        bounds: The bounds of the durable fields, compiled.
        bounded_decoder: A decoder that also checks the bounds that types can express.
        remaining_bounds: The bounds that types cannot express.
    """

    names: tuple[str, ...]
    containers: tuple[int, ...]
    number_keys: bool
    nan_hides_in: tuple[str, ...]
    decoder: "msgspec.json.Decoder[Any]"
    json_start: bytes
    json_end: bytes
    bounds: Bounds
    bounded_decoder: "msgspec.json.Decoder[Any]"
    remaining_bounds: Bounds


def annotations_of(name: str, namespace: dict[str, Any]) -> dict[str, Any]:
    """Return the resolved annotations of a class body.

    Raises:
        DefinitionError: An annotation uses an undefined name.
    """
    body = {key: namespace[key] for key in (*_ANNOTATIONS, "__module__") if key in namespace}
    try:
        hints = typing.get_type_hints(type(name, (), body), include_extras=True)
    except NameError as error:
        raise DefinitionError(
            f"{name}: an annotation names {error.name!r}, which is undefined at this point",
            hint="define it above the class, at module level; a Part cannot contain its own kind",
        ) from error
    return {key: hint if get_origin(hint) is ClassVar else resolved(hint) for key, hint in hints.items()}


def collect_fields(name: str, namespace: dict[str, Any], taken: Iterable[str]) -> dict[str, FieldInfo]:
    """Take the field declarations of a record class out of its body.

    Args:
        name: The class's name, for messages.
        namespace: The class body; afterwards it holds neither annotations nor declarations of fields.
        taken: Names reserved for Record's own attributes.

    Raises:
        DefinitionError: A field is declared wrongly.
    """
    fields: dict[str, FieldInfo] = {}
    for field_name, annotation in annotations_of(name, namespace).items():
        if annotation is ClassVar or get_origin(annotation) is ClassVar:
            continue
        where = f"{name}.{field_name}"
        declared = as_field(namespace.pop(field_name, None))
        if declared is None:
            raise DefinitionError(
                f"{where} is neither durable nor ephemeral",
                hint="write `= durable(...)` for progress or anything that accumulates, "
                "`= ephemeral(default=...)` for a value that may be lost",
            )
        _check_name(where, field_name, taken)
        info = replace(declared, name=field_name, type=annotation)
        _check_default(where, info)
        _check_trigger(where, info)
        _check_board(where, info, fields.values())
        fields[field_name] = info
    for key in _ANNOTATIONS:
        namespace.pop(key, None)
    for field_name, value in namespace.items():
        if as_field(value) is not None:
            raise DefinitionError(f"{name}.{field_name} has no type", hint=f"write `{field_name}: int = ...`")
    return fields


def _check_name(where: str, name: str, taken: Iterable[str]) -> None:
    if name in RESERVED_NAMES:
        raise DefinitionError(
            f"{where}: the name is reserved, because a {name} is stored beside the fields",
            hint=f"call the field {name}_number or the like",
        )
    if name in taken:
        raise DefinitionError(f"{where}: Record has an attribute of this name", hint="choose another name")
    if not _NAME.fullmatch(name):
        raise DefinitionError(
            f"{where}: a field's name has only small letters, digits and '_', and starts with a letter",
            hint="s-expressions write it as :kebab-case, and must read the same name back",
        )


def _check_default(where: str, info: FieldInfo) -> None:
    _check_functions(where, info)
    if info.default is not MISSING and info.default_factory is not None:
        raise DefinitionError(f"{where} has a default and a default_factory", hint="leave one out")
    if not info.durable and info.default is MISSING and info.default_factory is None:
        raise DefinitionError(f"{where} is ephemeral and has no default", hint="write ephemeral(default=...)")
    if type(info.default).__hash__ is None:  # mutable values have no hash
        shown, made = repr(info.default), type(info.default).__name__
        raise DefinitionError(
            f"{where}: all records would share the mutable default {shown}",
            hint=f"write default_factory={f'lambda: {shown}' if info.default else made}",
        )


def _check_functions(where: str, info: FieldInfo) -> None:
    given = (
        ("default_factory", info.default_factory, 0),
        ("known", info.known, 1),
        ("immediate_when", None if info.trigger is None else info.trigger.fires, 2),
    )
    for option, function, arguments in given:
        if function is not None and (fault := fault_of(function, arguments)) is not None:
            raise DefinitionError(
                f"{where}: {option}: {fault}", hint=f"give it a plain function of {arguments} arguments"
            )


def _check_trigger(where: str, info: FieldInfo) -> None:
    if info.trigger is None:
        return
    members = {get_args(kind)[0] if get_origin(kind) is Annotated else kind for kind in optional_members(info.type)}
    if any(get_origin(kind) in (*MUTABLE, tuple, frozenset) for kind in members):
        raise DefinitionError(
            f"{where}: immediate_when sees assignments only, and a container changes without one",
            hint="write tier=IMMEDIATE, and change it inside a commit",
        )
    if info.trigger.ordered and not members <= set(_NUMBERS):
        raise DefinitionError(
            f"{where}: {info.trigger.name} compares numbers, and the field also allows other values",
            hint="write immediate_when=changed, or a function of the old and the new value",
        )


def _check_board(where: str, info: FieldInfo, others: Iterable[FieldInfo]) -> None:
    if info.ranked is None:
        return
    if not isinstance(info.ranked, str) or not _BOARD.fullmatch(info.ranked):  # pyright: ignore[reportUnnecessaryIsInstance] - callers without a type checker
        raise DefinitionError(
            f"{where}: {info.ranked!r:.80} names no board",
            hint="small letters, digits and '_', at most 64, from a letter",
        )
    if info.type is not int:
        raise DefinitionError(f"{where}: a board ranks by whole numbers", hint="declare the field as int")
    if any(other.ranked == info.ranked for other in others):
        raise DefinitionError(f"{where}: another field has the board {info.ranked!r}", hint="one field for each board")


def part_fields(name: str, namespace: dict[str, Any]) -> tuple[FieldInfo, ...]:
    """Collect the fields of a Part from its body, and replace their annotations and defaults by msgspec's form.

    Raises:
        DefinitionError: A field is declared wrongly, is mutable, or cannot be stored.
    """
    fields: list[FieldInfo] = []
    native_annotations: dict[str, Any] = {}
    for field_name, annotation in annotations_of(name, namespace).items():
        if annotation is ClassVar or get_origin(annotation) is ClassVar:
            native_annotations[field_name] = annotation
            continue
        where = f"{name}.{field_name}"
        given = namespace.pop(field_name, MISSING)
        declared = as_field(given) or FieldInfo(field_name, durable=True, tier=None, default=given)
        _check_name(where, field_name, ())
        if not declared.durable or declared.trigger is not None or declared.ranked is not None:
            raise DefinitionError(
                f"{where}: a Part is stored whole and never assigned to",
                hint="ephemeral(), immediate_when and ranked belong to fields of the record that holds it",
            )
        info = replace(declared, name=field_name, type=annotation, tier=None, index=len(fields))
        _check_default(where, info)
        native_annotations[field_name] = immutable_type(annotation, where)
        info = _with_fitting_default(name, info)
        fields.append(info)
        put_default(namespace, info)
    for key in _ANNOTATIONS:
        namespace.pop(key, None)
    namespace["__annotations__"] = native_annotations
    return tuple(fields)


def put_default(namespace: dict[str, Any], info: FieldInfo) -> None:
    """Put a field's default into a class body in msgspec's form."""
    if info.default_factory is not None:
        namespace[info.name] = msgspec.field(default_factory=info.default_factory)
    elif info.default is not MISSING:
        namespace[info.name] = info.default


def _with_fitting_default(owner: str, info: FieldInfo) -> FieldInfo:
    """Return the field with a default of its type: an int becomes a float if the field is a float."""
    if info.default is MISSING:
        return info
    _, allowed = value_types(info.type)
    if isinstance(info.default, allowed) and not (isinstance(info.default, bool) and bool not in allowed):
        return info
    if float in allowed and type(info.default) is int:
        return replace(info, default=float(info.default))
    mended = f"{type_text(info.type)} | None" if info.default is None else type(info.default).__name__
    raise DefinitionError(
        f"{owner}.{info.name}: the default {info.default!r} is not of type {type_text(info.type)}",
        hint=f"change it, or declare the field as {mended}",
    )


def build_record_info(
    name: str,
    kind: str,
    version: int,
    suffix: str,
    fields: Mapping[str, FieldInfo],
    *,
    keep_unknown: bool,
    journal: bool = True,
    readable_by: int | None = None,
    internal: bool,
) -> RecordInfo:
    """Check the kind, versions and suffix of a record class, and number its durable fields.

    Raises:
        DefinitionError: The kind, a version or the suffix is malformed.
    """
    try:
        check_kind(kind, internal=internal)
        if suffix:
            check_kind(suffix, internal=internal)
    except InvalidKey as error:
        raise DefinitionError(f"{name}: {error.message}", hint=error.hint) from error
    if suffix in COMPANIONS:
        raise DefinitionError(
            f"{name}: suffix {suffix!r} names a companion key",
            hint=f"choose another than {', '.join(sorted(COMPANIONS))}",
        )
    if type(version) is not int or not 1 <= version < 2**31:
        raise DefinitionError(f"{name}: version {version!r} is not a whole number from 1", hint="write version=1")
    if readable_by is not None and (type(readable_by) is not int or not 1 <= readable_by <= version):
        raise DefinitionError(
            f"{name}: readable_by {readable_by!r} is not a whole number from 1 to its version, {version}",
            hint="give the oldest version whose code may read and write back these records, or leave it out",
        )
    indexed = {
        info.name: replace(_with_fitting_default(name, info), index=index)
        for index, info in enumerate(info for info in fields.values() if info.durable)
    }
    ordered = {field_name: indexed.get(field_name, info) for field_name, info in fields.items()}
    return RecordInfo(
        kind,
        version,
        suffix,
        MappingProxyType(ordered),
        tuple(indexed.values()),
        keep_unknown,
        journal,
        None if readable_by == version else readable_by,
    )


def blueprint(cls: Any, info: RecordInfo) -> Blueprint:
    """Compile the run-time facts of the finished class.

    Raises:
        DefinitionError: msgspec cannot tell the types of a union apart, or declared bounds do not fit.
    """
    try:
        decoder = msgspec.json.Decoder(cls)
    except TypeError as error:
        raise DefinitionError(
            f"{cls.__name__}: {error}",
            hint="the stored form must show which member of a union it is: use one of each kind",
        ) from error
    containers = tuple(field.index for field in info.durable if is_mutable(field.type))
    number_keys = any(has_number_keys(field.type) for field in info.durable)
    nan_hides_in = tuple(field.name for field in info.durable if may_hide_nan(field.type))
    start = b'{"version":%d' % info.version
    end = b"" if info.readable_by is None else b',"readable_by":%d' % info.readable_by
    compiler = BoundsCompiler(lambda part: getattr(part, "__realmkeep_part__"))  # noqa: B009 - known to be a Part
    compiled = [(field.name, compiler.field(field, cls.__name__)) for field in info.durable]
    checks = [(name, check) for name, check in compiled if check is not None]
    decoder_with_bounds, unchecked = bounded_decoder(cls, info, decoder)
    return Blueprint(
        tuple(field.name for field in info.durable),
        containers,
        number_keys,
        nan_hides_in,
        decoder,
        start,
        end,
        Bounds(checks),
        decoder_with_bounds,
        Bounds((name, check) for name, check in checks if name in unchecked),
    )


def value_types(annotation: Any) -> tuple[type | None, tuple[type, ...]]:
    """Return the usual type of a field's values, for a fast check, and every type that a value may have."""
    allowed: list[type] = []
    for kind in optional_members(annotation):
        member: Any = get_args(kind)[0] if get_origin(kind) is Annotated else kind
        origin: Any = get_origin(member) or member
        allowed.extend(literal_types(member) if origin is Literal else [origin])
    exact = next((kind for kind in allowed if kind is not type(None)), None)
    return exact, tuple(allowed)


_kinds: WeakValueDictionary[tuple[str, str], type] = WeakValueDictionary()


def register_kind(cls: type, info: RecordInfo) -> None:
    """Claim a kind and suffix for a class. The same class, defined again by reloading its module, takes its own place.

    Two groups are not registered: classes defined inside a function, since no other code can reach them, and the classes
    of `realmkeep.testing`, since a game's tests import them beside the game's own player.

    Raises:
        DefinitionError: Another class has this kind.
    """
    if "<locals>" in cls.__qualname__ or cls.__module__.startswith("realmkeep.testing."):
        return
    key = (info.kind, info.suffix)
    other = _kinds.get(key)
    if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise DefinitionError(
            f"{cls.__name__}: {other.__module__}.{other.__qualname__} has the kind {info.kind!r} already",
            hint="both classes would write the same keys: give one another kind or suffix",
        )
    _kinds[key] = cls


def ranked_field(board: str) -> tuple[Any, FieldInfo] | None:
    """The record class and the field that a board ranks; None if no class has such a field.

    Raises:
        DefinitionError: Two classes name this board: their ids would be mixed.
    """
    found = [(cls, field) for cls in registered() for field in _durable(cls) if field.ranked == board]
    if len(found) > 1:
        one, other = found[0][0].__qualname__, found[1][0].__qualname__
        raise DefinitionError(f"{other}: {one} has the board {board!r} already", hint="give one another name")
    return found[0] if found else None


def _durable(cls: Any) -> tuple[FieldInfo, ...]:
    return cls.__realmkeep__.durable


def registered() -> tuple[Any, ...]:
    """Every record class that has claimed a kind, in the order of the kinds."""
    return tuple(cls for _, cls in sorted(_kinds.items()))
