"""Finds the value that cannot be stored, and its place; called only after encoding has failed or may have."""

import math
from collections.abc import Iterator, Mapping
from typing import Any, cast

import msgspec

from realmkeep.errors import Unstorable
from realmkeep.records.plain import INTEGER_MAX, INTEGER_MIN


def first_fault(value: object, path: str) -> str | None:
    """Describe the first number or text inside a value that no codec holds exactly; None if there is none.

    Args:
        value: A plain value, a Part or a record.
        path: Its place.
    """
    if type(value) is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            return f"{path} holds half a surrogate pair, which is not text"
        return None
    if type(value) is int:
        return None if INTEGER_MIN <= value <= INTEGER_MAX else f"{path} is an integer beyond 64 bits"
    if type(value) is float:
        return None if math.isfinite(value) else f"{path} is {value}, which JSON cannot hold"
    for inner, inner_path in _contents(value, path):
        fault = first_fault(inner, inner_path)
        if fault is not None:
            return fault
    return None


def has_nan(value: object) -> bool:
    """Whether a value of `msgspec.to_builtins` holds a float that JSON would turn into null."""
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(has_nan, cast("dict[Any, Any]", value).values()))
    return isinstance(value, (list, tuple)) and any(map(has_nan, cast("list[Any]", value)))


def _contents(value: object, path: str) -> Iterator[tuple[object, str]]:
    if isinstance(value, Mapping):
        for key, entry in cast("Mapping[Any, Any]", value).items():
            yield key, f"a key of {path}"
            yield entry, f"{path}[{key!r:.40}]"
    elif isinstance(value, (list, tuple)):
        for index, entry in enumerate(cast("list[Any]", value)):
            yield entry, f"{path}[{index}]"
    elif isinstance(value, (set, frozenset)):
        for entry in cast("set[Any]", value):
            yield entry, f"an entry of {path}"
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            if hasattr(value, name):
                yield getattr(value, name), f"{path}.{name}"


def unstorable(record: msgspec.Struct, error: Exception) -> Unstorable:
    """Make the error for a record that msgspec refused.

    Args:
        record: The record.
        error: msgspec's exception; its path is used if the fault is a wrong type.
    """
    name = type(record).__name__
    try:
        fault = first_fault(record, name)
    except RecursionError:
        fault = f"{name} holds a container that contains itself"
    if fault is None and "str keys" in str(error):
        fault = f"{name}: a dictionary with text keys has a key of another type"
    if fault is None:
        what, _, at = str(error).partition(" - at `$")
        fault = f"{name}{at.removesuffix('`')}: {what}" if at.startswith(".") else f"{name}: {error}"
    return Unstorable(fault, hint="the record was not stored; mend the value in the live record")
