"""The types that a field may have, and their msgspec form, which passes only values that every codec holds exactly.

A field holds a scalar, an immutable composite, or one mutable container of these. The contents of a container are
immutable. A shallow copy is therefore independent, and one `touch()` of the field covers every change inside.
"""

import enum
import sys
import types
from typing import Annotated, Any, Final, Literal, TypeAlias, Union, get_args, get_origin

import msgspec

from realmkeep.errors import DefinitionError

MUTABLE: Final = (list, dict, set)
Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Finite: TypeAlias = Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)]  # NaN compares false

_AS_DECLARED: Final[dict[Any, Any]] = {int: Int64, float: Finite, bool: bool, str: str, types.NoneType: types.NoneType}
_HINTS: Final = {
    "Any": "name the type: loading can check only declared types",
    "object": "name the type: loading can check only declared types",
    "bytes": "store text, for example base64: s-expressions have no bytes",
    "bytearray": "store text, for example base64: s-expressions have no bytes",
    "complex": "store two floats",
    "Decimal": "store whole units as int: coins, not gold",
    "datetime": "store an int: microseconds since the epoch",
    "date": "store an int: days since the epoch",
    "timedelta": "store an int: microseconds",
    "UUID": "store its text as str",
}
_ANYTHING_ELSE: Final = "use int, float, bool, str, Keyword, Literal, StrEnum, IntEnum, a Part, or a container of these"


def is_mutable(annotation: Any) -> bool:
    """Whether a resolved annotation is a list, dictionary or set."""
    return get_origin(annotation) in MUTABLE


def literal_types(annotation: Any) -> set[type]:
    """The types of the values that a `Literal` allows."""
    values: tuple[object, ...] = get_args(annotation)
    return {type(value) for value in values}


def optional_members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; of any other type, itself."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def resolved(annotation: Any) -> Any:
    """Return the annotation with `NewType` and `type` aliases replaced by their targets."""
    while True:
        if hasattr(annotation, "__supertype__"):
            annotation = annotation.__supertype__
        elif type(annotation).__name__ == "TypeAliasType":
            annotation = annotation.__value__
        else:
            break
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is None or origin is Literal:
        return annotation
    if origin is Annotated:
        return Annotated[(resolved(arguments[0]), *arguments[1:])]  # pyright: ignore[reportInvalidTypeForm] - built, not written
    inner = tuple(resolved(argument) for argument in arguments)
    if origin in (Union, types.UnionType):
        return Union[inner]  # noqa: UP007 - the members are known only now
    return annotation if inner == arguments else origin[inner]


def field_type(annotation: Any, where: str) -> Any:
    """Return the msgspec form of a record field's type: only 64-bit integers and finite floats pass.

    Args:
        annotation: The resolved annotation.
        where: The field, for messages.

    Raises:
        DefinitionError: The type cannot be stored; the message names an alternative.
    """
    if not is_mutable(annotation):
        return immutable_type(annotation, where)
    origin: Any = get_origin(annotation)
    arguments = get_args(annotation)
    if origin is dict:
        return dict[_key_type(arguments[0], where), immutable_type(arguments[1], f"the values of {where}")]
    if origin is set:
        return set[_key_type(arguments[0], where)]
    return list[immutable_type(arguments[0], f"the entries of {where}")]


def immutable_type(annotation: Any, where: str) -> Any:
    """As `field_type`, for a Part's field or the contents of a container.

    Raises:
        DefinitionError: The type is mutable or cannot be stored; the message names an alternative.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is tuple and arguments:
        return tuple[tuple(one if one is ... else immutable_type(one, f"the entries of {where}") for one in arguments)]
    if origin is frozenset:
        return frozenset[_key_type(arguments[0], where)]
    if origin in (Union, types.UnionType):
        return Union[tuple(immutable_type(member, where) for member in arguments)]  # noqa: UP007 - as in resolved
    return _single_type(annotation, where)


def _single_type(annotation: Any, where: str) -> Any:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        if any(isinstance(extra, msgspec.Meta) for extra in arguments[1:]):
            raise DefinitionError(
                f"{where} has bounds in msgspec.Meta", hint="declare them beside the field: durable(ge=0, le=10)"
            )
        return immutable_type(arguments[0], where)
    if origin is Literal:
        if not literal_types(annotation) <= {int, str, types.NoneType}:
            raise DefinitionError(
                f"{where} has a Literal with values other than int, str and None", hint="use a StrEnum or bool"
            )
        return annotation
    if isinstance(annotation, type) and origin is None:
        if annotation in _AS_DECLARED:
            return _AS_DECLARED[annotation]
        if hasattr(annotation, "__realmkeep_part__") or issubclass(annotation, (enum.StrEnum, enum.IntEnum)):
            return annotation
    raise _refused(annotation, where)


def _key_type(annotation: Any, where: str) -> Any:
    """Check a dictionary's key or a set's entry: only text and whole numbers have one order to be written in."""
    key = immutable_type(annotation, f"the keys of {where}")
    literal = get_origin(key) is Literal and literal_types(key) in ({int}, {str})
    if key in (str, Int64) or literal or (isinstance(key, type) and issubclass(key, (enum.StrEnum, enum.IntEnum))):
        return key
    raise DefinitionError(
        f"the keys of {where} are {_shown(annotation)}",
        hint="keys of a dict and entries of a set are text or whole numbers: str, int, Keyword, StrEnum, IntEnum",
    )


def has_number_keys(annotation: Any) -> bool:
    """Whether the type is a dictionary keyed by whole numbers; JSON writes these keys as text."""
    if get_origin(annotation) is not dict:
        return False
    key = _key_type(get_args(annotation)[0], "")
    return key == Int64 or literal_types(key) == {int} or (isinstance(key, type) and issubclass(key, int))


def may_hide_nan(annotation: Any) -> bool:
    """Whether a NaN inside, which msgspec writes as null, would be read back as None without an error."""
    members = optional_members(annotation)
    if float in members and any(member is types.NoneType or None in get_args(member) for member in members):
        return True
    if hasattr(annotation, "__realmkeep_part__"):
        return any(may_hide_nan(field.type) for field in annotation.__realmkeep_part__)
    return get_origin(annotation) is not Literal and any(map(may_hide_nan, get_args(annotation)))


def _shown(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) and not get_args(annotation) else str(annotation)


def _refused(annotation: Any, where: str) -> DefinitionError:
    origin: Any = get_origin(annotation) or annotation
    name = getattr(origin, "__name__", str(origin))
    has_fields = hasattr(origin, "__struct_fields__") or hasattr(origin, "__dataclass_fields__")
    shown = _shown(annotation)
    if origin in MUTABLE and not get_args(annotation):
        return DefinitionError(
            f"{where} is a {name} without the type of its contents",
            hint=f"declare it, for example {name}[{'str, int' if name == 'dict' else 'int'}]",
        )
    if origin in (tuple, frozenset):
        return DefinitionError(
            f"{where} is a {name} without the type of its contents",
            hint=f"declare it, for example {name}[int{', ...' if name == 'tuple' else ''}]",
        )
    if origin in MUTABLE:
        return DefinitionError(
            f"{where} is the mutable {shown}",
            hint="only a record's own field may be a list, dict or set, and only outside a union: inside, use tuple[...], "
            "frozenset[...] or a Part; an empty container stands for None",
        )
    if hasattr(origin, "__realmkeep__"):
        return DefinitionError(f"{where} is the record {shown}", hint="store its id, or make it a Part")
    if isinstance(origin, type) and issubclass(origin, enum.Enum):
        return DefinitionError(f"{where} is the enumeration {shown}", hint="derive it from StrEnum or IntEnum")
    if has_fields:
        return DefinitionError(
            f"{where} is the class {shown}, which may be mutable", hint="derive it from realmkeep's Part"
        )
    return DefinitionError(f"{where} is of type {shown}, which cannot be stored", hint=_HINTS.get(name, _ANYTHING_ELSE))
