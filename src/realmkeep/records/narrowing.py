"""Bounds as types: msgspec checks them while it reads back the bytes just encoded, at almost no cost.

The same check in Python, of every item of every inventory at every write, took half the time of a flush. A record that
fails here is checked again in Python, which names the fault. So only a pass must be exact.
"""

import math
import sys
import types
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Union, cast, get_args, get_origin

import msgspec

from realmkeep.records.bounds import SEQUENCES
from realmkeep.records.fields import FieldInfo, RecordInfo
from realmkeep.records.plain import INTEGER_MAX, INTEGER_MIN
from realmkeep.records.storable import field_type


class Narrowing:
    """Narrows the types of fields to their bounds.

    Args:
        declared: Returns the durable fields of a Part class.
    """

    def __init__(self, declared: Callable[[type], Iterable[FieldInfo]]) -> None:
        self._declared = declared
        self._parts: dict[type, Any] = {}

    def field(self, info: FieldInfo, owner: str) -> Any:
        """Return the field's type narrowed to its bounds; None if no type can express them, as with `known`.

        Args:
            info: The field.
            owner: The name of its class, for messages.
        """
        if info.known is not None:
            return None
        return self._narrow(field_type(info.type, f"{owner}.{info.name}"), info, 0)

    def _narrow(self, annotation: Any, info: FieldInfo, depth: int) -> Any:
        """Narrow at a `depth`, as in `BoundsCompiler`: 0 for the field's own value."""
        arguments: tuple[Any, ...] = get_args(annotation)
        origin: Any = get_origin(annotation) or annotation
        if origin is Annotated:
            return _number(arguments[0], info) if arguments[0] in (int, float) else annotation
        if origin in (Union, types.UnionType):
            members = [self._narrow(member, info, depth) for member in arguments]
            return None if any(member is None for member in members) else Union[tuple(members)]  # noqa: UP007 - the members are known only now
        narrowed = annotation
        if origin is dict or origin in SEQUENCES:
            kept = arguments[:1] if origin is dict else ()  # ge and le apply to a dictionary's values
            inner = [one if one is ... else self._narrow(one, info, depth + 1) for one in arguments[len(kept) :]]
            if any(one is None for one in inner):
                return None
            narrowed = types.GenericAlias(cast("type", origin), (*kept, *inner))
        elif isinstance(origin, type) and issubclass(origin, msgspec.Struct):
            return self._part(origin)
        elif origin is not str:
            return annotation
        if info.length_max is None or depth > 0:
            return narrowed
        return Annotated[narrowed, msgspec.Meta(max_length=info.length_max)]

    def _part(self, part: type) -> Any:
        if part not in self._parts:
            self._parts[part] = None  # a Part that holds its own kind is left to the check in Python
            fields = [(info.name, self.field(info, part.__name__)) for info in self._declared(part)]
            if all(kind is not None for _, kind in fields):
                self._parts[part] = msgspec.defstruct(part.__name__, fields, gc=False, forbid_unknown_fields=True)
        return self._parts[part]


def _number(kind: type, info: FieldInfo) -> Any:
    least: float = INTEGER_MIN if kind is int else -sys.float_info.max
    most: float = INTEGER_MAX if kind is int else sys.float_info.max
    if info.ge is not None and not math.isinf(info.ge):
        least = max(least, math.ceil(info.ge) if kind is int else float(info.ge))
    if info.le is not None and not math.isinf(info.le):
        most = min(most, math.floor(info.le) if kind is int else float(info.le))
    return Annotated[kind, msgspec.Meta(ge=least, le=most)] if least <= most else None


def bounded_decoder(
    cls: Any, info: RecordInfo, decoder: msgspec.json.Decoder[Any]
) -> tuple[msgspec.json.Decoder[Any], frozenset[str]]:
    """Return a decoder of the current version's JSON that also checks bounds, and the fields whose bounds it cannot check.

    Args:
        cls: The record class, finished.
        info: Its declaration.
        decoder: Reads the same JSON without bounds.
    """
    narrowing = Narrowing(lambda part: getattr(part, "__realmkeep_part__"))  # noqa: B009 - known to be a Part
    narrowed = {field.name: narrowing.field(field, cls.__name__) for field in info.durable}
    beyond = frozenset(name for name, kind in narrowed.items() if kind is None)
    fields = [
        (field.name, field_type(field.type, cls.__name__) if field.name in beyond else narrowed[field.name])
        for field in info.durable
    ]
    if len(beyond) == len(fields):
        return decoder, beyond
    twin = msgspec.defstruct(cls.__name__, fields, tag_field="version", tag=info.version, forbid_unknown_fields=True)
    return msgspec.json.Decoder(twin), beyond
