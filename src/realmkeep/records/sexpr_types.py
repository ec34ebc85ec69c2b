"""Which shape of data belongs to a field's type."""

from functools import lru_cache
from typing import Any, Final, cast

from msgspec import inspect

from realmkeep.records.sexpr_shapes import (
    BOOL,
    CHOICE,
    FLOAT,
    INT,
    KEYWORD,
    TEXT,
    UNTYPED,
    Dict,
    Fields,
    Maybe,
    Sequence,
    Shape,
)


@lru_cache(maxsize=4096)  # more types than a game has; classes reloaded in development add some
def shape_of(annotation: Any) -> Shape:
    """The shape of a field's resolved annotation.

    A union of several types beside None is read and written without a type; so is `Any`.
    """
    return _shape(inspect.type_info(annotation), {})


def _shape(info: inspect.Type, structs: dict[type, Fields]) -> Shape:
    match info:
        case inspect.Metadata():
            return KEYWORD if _is_keyword(info) else _shape(info.type, structs)
        case inspect.StructType():
            return _fields(info, structs)
        case inspect.DictType():
            return Dict(_shape(info.key_type, structs), _shape(info.value_type, structs))
        case inspect.ListType() | inspect.SetType() | inspect.FrozenSetType() | inspect.VarTupleType():
            return Sequence(_shape(info.item_type, structs))
        case inspect.TupleType():
            return Sequence(UNTYPED, tuple(_shape(item, structs) for item in info.item_types))
        case inspect.UnionType():
            some = [member for member in info.types if not isinstance(member, inspect.NoneType)]
            return Maybe(_shape(some[0], structs)) if len(some) == 1 else UNTYPED
        case _:
            return _LEAVES.get(type(info), TEXT)


_LEAVES: Final[dict[type[inspect.Type], Shape]] = {
    inspect.BoolType: BOOL,
    inspect.IntType: INT,
    inspect.FloatType: FLOAT,
    inspect.LiteralType: CHOICE,
    inspect.EnumType: CHOICE,
    inspect.AnyType: UNTYPED,
    inspect.NoneType: UNTYPED,
}
"""The rest - bytes, dates, UUIDs, decimals - are texts in plain form."""


def _is_keyword(info: inspect.Metadata) -> bool:
    extra = cast("dict[str, object] | None", info.extra)
    return extra is not None and extra.get("realmkeep") == "keyword"


def _fields(info: inspect.StructType, structs: dict[type, Fields]) -> Fields:
    """A part's shape, made once: a part may contain itself."""
    if info.cls in structs:
        return structs[info.cls]
    structs[info.cls] = shape = Fields()
    if info.tag_field is not None:
        shape.shapes[info.tag_field] = CHOICE
    shape.shapes.update({field.encode_name: _shape(field.type, structs) for field in info.fields})
    return shape
