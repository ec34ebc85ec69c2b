"""Plain values: None, bool, int, float, str, and lists and dictionaries of these, as every codec holds them exactly.

A value is checked level by level: whole levels at once take a third of the time of a call for each value.
"""

import math
from typing import Any, Final, TypeAlias, cast

import msgspec

from realmkeep.errors import Unstorable
from realmkeep.records.limits import DEFAULT_LIMITS, Limits

Plain: TypeAlias = dict[str, Any]
"""A decoded record: its keys are text, and its values are plain."""

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**63 - 1
_CONTAINERS: Final = frozenset({list, dict})
_PLAIN: Final = _CONTAINERS | {str, int, float, bool, type(None)}
_FAULTS_OF: Final[dict[type, str]] = {
    int: "is an integer beyond 64 bits",
    str: "is text with half a surrogate pair, which UTF-8 cannot hold",
}
_pack: Final = msgspec.msgpack.Encoder().encode
_unpack: Final = msgspec.msgpack.Decoder().decode


def count_keys(value: object, limits: Limits = DEFAULT_LIMITS) -> int | None:
    """The keys of all dictionaries in a value; None if it is not plain, or exceeds the limits in depth or nodes.

    Plain are only integers of 64 bits, finite floats, and texts without half a surrogate pair.
    """
    level, all_keys, nodes = [value], 0, 0
    for depth in range(1, limits.depth_max + 2):
        kinds = set(map(type, level))
        nodes += len(level)
        if nodes > limits.nodes_max or not kinds <= _PLAIN or not _are_exact(level, kinds):
            return None
        if kinds.isdisjoint(_CONTAINERS):
            return all_keys
        if depth > limits.depth_max:
            return None
        level, keys = _contents(level, kinds)
        all_keys += len(keys)
        nodes += len(keys)
        if not _are_texts(keys):
            return None
    return None


def _contents(values: list[Any], kinds: set[type]) -> tuple[list[Any], list[Any]]:
    """The values in the containers among `values`, and their keys."""
    below: list[Any] = []
    keys: list[Any] = []
    if dict in kinds:
        for each in values:
            if type(each) is dict:
                below += each.values()
                keys += cast("dict[Any, Any]", each)
    if list in kinds:
        for each in values:
            if type(each) is list:
                below += each
    return below, keys


def _are_exact(values: list[Any], kinds: set[type]) -> bool:
    """Whether every number and text among the values is one that each codec holds."""
    if str in kinds and not _are_texts([each for each in values if type(each) is str]):
        return False
    if int in kinds:
        numbers = [each for each in values if type(each) is int]
        if min(numbers) < INTEGER_MIN or max(numbers) > INTEGER_MAX:
            return False
    return float not in kinds or all(map(math.isfinite, [each for each in values if type(each) is float]))


def _are_texts(keys_and_texts: list[Any]) -> bool:
    try:
        together = "".join(keys_and_texts)
        return together.isascii() or bool(together.encode())
    except (TypeError, UnicodeEncodeError):  # a key of another type; half a surrogate pair
        return False


def plain_copy(plain: Plain, *, limits: Limits = DEFAULT_LIMITS) -> Plain:
    """Return a deep copy that shares nothing with `plain`.

    Raises:
        Unstorable: A value is not plain, or the copy exceeds `limits` in depth or nodes; the path is named.
    """
    if count_keys(plain, limits) is None:
        _Faults(limits).raise_first(plain, "", 1)
        raise AssertionError("a record was refused without a fault; a defect of Realmkeep")
    return cast("Plain", _unpack(_pack(plain)))


class _Faults:
    """Names what `count_keys` refused."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.nodes_left = limits.nodes_max

    def raise_first(self, value: object, path: str, depth: int) -> None:
        """Raise for the first fault in a value.

        Raises:
            Unstorable: There is one.
        """
        self.nodes_left -= 1
        if self.nodes_left < 0:
            raise Unstorable(f"more than {self.limits.nodes_max} values")
        if type(value) in _CONTAINERS and depth > self.limits.depth_max:
            raise Unstorable(f"nested deeper than {self.limits.depth_max}")
        if type(value) is dict:
            for key, entry in cast("dict[object, object]", value).items():
                if type(key) is not str or not _are_texts([key]):
                    raise Unstorable(
                        f"{path or 'the record'} has a key of type {type(key).__name__} that is not Unicode text"
                    )
                self.nodes_left -= 1
                self.raise_first(entry, f"{path}.{key}" if path else key, depth + 1)
        elif type(value) is list:
            for index, entry in enumerate(cast("list[object]", value)):
                self.raise_first(entry, f"{path}[{index}]", depth + 1)
        elif not _are_exact([value], {type(value)}):
            raise Unstorable(f"{path} {_FAULTS_OF.get(type(value), f'is {value}')}")
        elif type(value) not in _PLAIN:
            raise Unstorable(f"{path or 'the record'} is of type {type(value).__name__}")
