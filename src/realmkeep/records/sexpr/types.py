"""Maps the type of a field to the shape of its data."""

import enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from realmkeep.records.fields import KEYWORD, FieldInfo
from realmkeep.records.sexpr.former import FormerShape
from realmkeep.records.sexpr.shapes import (
    BOOL,
    CHOICE,
    FLOAT,
    INT,
    NAME,
    TEXT,
    UNTYPED,
    Dict,
    Fields,
    Maybe,
    Sequence,
    Shape,
    Untyped,
)

_SCALARS: Final[dict[Any, Shape]] = {bool: BOOL, int: INT, float: FLOAT, str: TEXT}


@lru_cache(maxsize=4096)  # more types than a game has; classes reloaded in development add some
def shape_of(annotation: Any, *, former: bool = False) -> Shape:
    """Return the shape for the resolved annotation of any record's field.

    A union of several types beside None is read and written without a type.

    Args:
        annotation: The annotation.
        former: The annotation is today's and the data are of a former version: see `former`.
    """
    shape = _shape_of(annotation, former=former)
    return FormerShape(shape) if former and not isinstance(shape, Maybe | Untyped) else shape


def _shape_of(annotation: Any, *, former: bool) -> Shape:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if origin is Annotated:
        return NAME if KEYWORD in arguments else shape_of(arguments[0], former=former)
    if origin is dict:
        return Dict(shape_of(arguments[0]), shape_of(arguments[1], former=former))
    if origin is tuple and arguments[-1] is not ...:
        return Sequence(UNTYPED, tuple(shape_of(one, former=former) for one in arguments))
    if origin in {list, set, frozenset, tuple}:
        return Sequence(shape_of(arguments[0], former=former))
    if origin is Literal:
        return Maybe(CHOICE) if None in arguments else CHOICE  # Literal["a", None] is storable too
    if origin in {Union, UnionType}:
        some = [member for member in arguments if member is not NoneType]
        return Maybe(shape_of(some[0], former=former)) if len(some) == 1 < len(arguments) else UNTYPED
    part: tuple[FieldInfo, ...] | None = getattr(annotation, "__realmkeep_part__", None)
    if part is not None:
        return Fields({field.name: shape_of(field.type, former=former) for field in part})
    if isinstance(annotation, type) and issubclass(annotation, enum.StrEnum | enum.IntEnum):
        return CHOICE
    return UNTYPED
