"""Which shape of data belongs to a field's type."""

import enum
from functools import lru_cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from realmkeep.records.fields import KEYWORD, FieldInfo
from realmkeep.records.sexpr.older import Older
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
def shape_of(annotation: Any, *, older: bool = False) -> Shape:
    """The shape of a field's resolved annotation; whatever a record's field may be.

    A union of several types beside None is read and written without a type.

    Args:
        annotation: The annotation.
        older: It is today's, and the data are of a former version: see `sexpr_older`.
    """
    shape = _shape_of(annotation, older=older)
    return Older(shape) if older and not isinstance(shape, Maybe | Untyped) else shape


def _shape_of(annotation: Any, *, older: bool) -> Shape:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    if origin is Annotated:
        return NAME if KEYWORD in arguments else shape_of(arguments[0], older=older)
    if origin is dict:
        return Dict(shape_of(arguments[0]), shape_of(arguments[1], older=older))
    if origin is tuple and arguments[-1] is not ...:
        return Sequence(UNTYPED, tuple(shape_of(one, older=older) for one in arguments))
    if origin in {list, set, frozenset, tuple}:
        return Sequence(shape_of(arguments[0], older=older))
    if origin is Literal:
        return Maybe(CHOICE) if None in arguments else CHOICE  # storable also as Literal["a", None]
    if origin in {Union, UnionType}:
        some = [member for member in arguments if member is not NoneType]
        return Maybe(shape_of(some[0], older=older)) if len(some) == 1 < len(arguments) else UNTYPED
    part: tuple[FieldInfo, ...] | None = getattr(annotation, "__realmkeep_part__", None)
    if part is not None:
        return Fields({field.name: shape_of(field.type, older=older) for field in part})
    if isinstance(annotation, type) and issubclass(annotation, enum.StrEnum | enum.IntEnum):
        return CHOICE
    return UNTYPED
