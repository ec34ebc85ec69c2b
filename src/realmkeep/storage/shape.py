"""What lies at a key, and whether effects fit it: asked before the first of them is applied."""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from realmkeep.errors import WrongType
from realmkeep.storage.protocol import Append, Delete, Effect, Put

Shape: TypeAlias = int  # ABSENT, VALUE, or the number of entries of a list, at least 1
ABSENT: Final = 0
VALUE: Final = -1


def wrong_type(key: str, *, holds: str, wanted: str) -> WrongType:
    """The error for a key that holds something else than a call needs."""
    return WrongType(f"{key!r} holds {holds}, not {wanted}; it was not touched", hint="delete it or use another key")


def conflict(effects: Sequence[Effect], shape_of: Callable[[str], Shape]) -> WrongType | None:
    """The first effect that does not fit what the effects before it leave; None if all fit.

    Args:
        effects: The effects of one transaction, in order.
        shape_of: What lies at a key before the first of them.
    """
    shapes: dict[str, Shape] = {}
    for effect in effects:
        key = effect.key
        if isinstance(effect, Delete):
            shapes[key] = ABSENT
            continue
        shape = shapes[key] if key in shapes else shape_of(key)
        if isinstance(effect, Put):
            if shape > 0:
                return wrong_type(key, holds="a list", wanted="a value")
            shapes[key] = VALUE
        elif shape == VALUE:
            return wrong_type(key, holds="a value", wanted="a list")
        else:
            shapes[key] = shape + 1 if isinstance(effect, Append) else max(ABSENT, shape - effect.count)
    return None
