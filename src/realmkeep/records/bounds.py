"""The bounds of a field (`ge`, `le`, `length_max`, `known`), compiled into checks that also mend.

A check sees only values of the right type: the codec or `validation` has checked types before.
"""

import math
import operator
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Annotated, Any, Final, Protocol, Union, get_args, get_origin

import msgspec

from realmkeep.errors import DefinitionError
from realmkeep.records.fields import CLAMP, OK, FieldInfo, Validity
from realmkeep.records.issues import Issue, short_repr

SEQUENCES: Final = (list, tuple, set, frozenset)


class Check(Protocol):
    """The compiled bounds of one type."""

    def holds(self, value: Any) -> bool:
        """Whether `value` is within the bounds; the fast answer."""
        ...

    def all_hold(self, values: Collection[Any]) -> bool:
        """Whether every one of `values` is within the bounds: entries of a container, one pass in C for each bound."""
        ...

    def mend(self, value: Any, path: str, issues: list[Issue]) -> Any:
        """Append an issue for each broken bound; return `value`, clamped where the bound says `CLAMP`."""
        ...


@dataclass(frozen=True)
class _Number:
    """A number from `ge` to `le`."""

    ge: float
    le: float
    outcome: Validity

    def holds(self, value: Any) -> bool:
        return self.ge <= value <= self.le

    def all_hold(self, values: Collection[Any]) -> bool:
        return (self.ge == -math.inf or all(map(operator.le, repeat(self.ge), values))) and (
            self.le == math.inf or all(map(operator.le, values, repeat(self.le)))
        )

    def mend(self, value: Any, path: str, issues: list[Issue]) -> Any:
        if self.holds(value):
            return value
        rule, bound = (f"at least {self.ge}", self.ge) if not value >= self.ge else (f"at most {self.le}", self.le)
        issues.append(Issue(path, short_repr(value), rule, self.outcome))
        return bound if self.outcome is CLAMP else value


@dataclass(frozen=True)
class _Length:
    """At most `length_max` characters or entries."""

    length_max: int
    outcome: Validity

    def holds(self, value: Any) -> bool:
        return len(value) <= self.length_max

    def all_hold(self, values: Collection[Any]) -> bool:
        return all(map(self.holds, values))

    def mend(self, value: Any, path: str, issues: list[Issue]) -> Any:
        if not self.holds(value):
            issues.append(
                Issue(path, short_repr(value), f"at most {self.length_max} long, not {len(value)}", self.outcome)
            )
        return value


@dataclass(frozen=True)
class _Known:
    """A value that the game's function accepts; a value for which it raises is unknown."""

    known: Callable[[Any], bool]
    outcome: Validity

    def holds(self, value: Any) -> bool:
        try:
            return bool(self.known(value))
        except Exception:  # noqa: BLE001 - as for an unhashable entry asked of a set: unknown, and mend reports it
            return False

    def all_hold(self, values: Collection[Any]) -> bool:
        return all(map(self.holds, values))

    def mend(self, value: Any, path: str, issues: list[Issue]) -> Any:
        try:
            known, why = bool(self.known(value)), ""
        except Exception as error:  # noqa: BLE001 - as in holds; the issue names the exception
            known, why = False, f" (asking raised {type(error).__name__})"
        if not known:
            issues.append(Issue(path, short_repr(value), f"known to the game{why}", self.outcome))
        return value


@dataclass(frozen=True)
class _AllOf:
    """Several checks that must all hold."""

    checks: tuple[Check, ...]

    def holds(self, value: Any) -> bool:
        return all(check.holds(value) for check in self.checks)

    def all_hold(self, values: Collection[Any]) -> bool:
        return all(check.all_hold(values) for check in self.checks)

    def mend(self, value: Any, path: str, issues: list[Issue]) -> Any:
        for check in self.checks:
            value = check.mend(value, path, issues)
        return value


@dataclass(frozen=True)
class _ByClass:
    """The checks of a union, by the class of the value; None, and a class without a check, pass."""

    by_class: Mapping[Any, Check]

    def holds(self, value: Any) -> bool:
        check = self.by_class.get(type(value))
        return check is None or check.holds(value)

    def all_hold(self, values: Collection[Any]) -> bool:
        return all(map(self.holds, values))

    def mend(self, value: Any, path: str, issues: list[Issue]) -> Any:
        check = self.by_class.get(type(value))
        return value if check is None else check.mend(value, path, issues)


@dataclass(frozen=True)
class _Entries:
    """Every entry of a list, tuple or set."""

    check: Check

    def holds(self, value: Any) -> bool:
        return self.check.all_hold(value)

    def all_hold(self, values: Collection[Any]) -> bool:
        return all(map(self.holds, values))

    def mend(self, value: Any, path: str, issues: list[Issue]) -> Any:
        if self.holds(value):
            return value
        entries = [self.check.mend(entry, f"{path}[{index}]", issues) for index, entry in enumerate(value)]
        return type(value)(entries)


@dataclass(frozen=True)
class _Values:
    """Every key and every value of a dictionary."""

    keys: Check | None
    values: Check | None

    def holds(self, value: Any) -> bool:
        return (self.keys is None or self.keys.all_hold(value)) and (
            self.values is None or self.values.all_hold(value.values())
        )

    def all_hold(self, values: Collection[Any]) -> bool:
        return all(map(self.holds, values))

    def mend(self, value: Any, path: str, issues: list[Issue]) -> Any:
        if self.holds(value):
            return value
        mended: dict[Any, Any] = {}
        for key, entry in value.items():
            at = f"{path}[{short_repr(key)}]"
            if self.keys is not None:
                self.keys.mend(key, at, issues)
            mended[key] = entry if self.values is None else self.values.mend(entry, at, issues)
        return mended


@dataclass(frozen=True)
class _PartFields:
    """The checks of a Part's fields, by name. It is a list, filled later, because a Part may contain its own kind."""

    checks: list[tuple[str, Check]]

    def holds(self, value: Any) -> bool:
        for name, check in self.checks:  # noqa: SIM110 - as below
            if not check.holds(getattr(value, name)):
                return False
        return True

    def all_hold(self, values: Collection[Any]) -> bool:
        for name, check in self.checks:  # noqa: SIM110 - all() with a generator costs twice this loop, at every write
            if not check.all_hold([*map(operator.attrgetter(name), values)]):
                return False
        return True

    def mend(self, value: Any, path: str, issues: list[Issue]) -> Any:
        changes: dict[str, Any] = {}
        for name, check in self.checks:
            was = getattr(value, name)
            now = check.mend(was, f"{path}.{name}", issues)
            if now is not was:
                changes[name] = now
        return msgspec.structs.replace(value, **changes) if changes else value


class Bounds:
    """All checks of a record, made at every write. The numbers are checked in one pass: for most records that is all.

    Args:
        checks: The name and the check of each field with bounds.
    """

    def __init__(self, checks: Iterable[tuple[str, Check]]) -> None:
        self.checks: Final = tuple(checks)
        numbers = [(name, check) for name, check in self.checks if isinstance(check, _Number)]
        self._ge = tuple(check.ge for _, check in numbers)
        self._le = tuple(check.le for _, check in numbers)
        self._numbers_of = operator.attrgetter(*(name for name, _ in numbers)) if len(numbers) > 1 else None
        self._others = [pair for pair in self.checks if self._numbers_of is None or pair not in numbers]

    def hold(self, record: Any) -> bool:
        """Whether the record is within all its bounds.

        Raises:
            TypeError, AttributeError: A value of a foreign type cannot be compared.
        """
        if self._numbers_of is not None:
            values = self._numbers_of(record)
            if not (all(map(operator.le, self._ge, values)) and all(map(operator.le, values, self._le))):
                return False
        for name, check in self._others:  # noqa: SIM110 - as in _PartFields
            if not check.holds(getattr(record, name)):
                return False
        return True


class BoundsCompiler:
    """Compiles the bounds of fields, and of the Parts inside them.

    On a container, `length_max` counts its entries. The other bounds apply to each entry: `ge` and `le` to every number
    inside, `known` to each entry, of a dictionary to each key. None passes if the type allows it.

    Args:
        declared: Returns the durable fields of a Part class.
    """

    def __init__(self, declared: Callable[[type], Iterable[FieldInfo]]) -> None:
        self._declared = declared
        self._parts: dict[type, _PartFields] = {}
        self._finished: set[type] = set()

    def field(self, info: FieldInfo, owner: str) -> Check | None:
        """Compile one field; None if neither the field nor a Part inside it has bounds.

        Args:
            info: The field.
            owner: The name of its class, for messages.

        Raises:
            DefinitionError: A bound does not fit the field's type, the bounds contradict each other or the default,
                or `CLAMP` has no safe mending: to cut a text or container short, or to drop an unknown entry, would
                destroy property.
        """
        where = f"{owner}.{info.name}"
        _check_outcome(info, where)
        if info.ge is not None and info.le is not None and info.ge > info.le:
            raise DefinitionError(
                f"{where}: no value is at least {info.ge} and at most {info.le}", hint="swap ge and le"
            )
        unused = {name for name in ("ge", "le", "length_max") if getattr(info, name) is not None}
        check = self._compile(info.type, info, unused, 0)
        if unused:
            raise DefinitionError(
                f"{where}: {' and '.join(sorted(unused))} cannot apply to {info.type}",
                hint="ge and le are for numbers and containers of numbers, length_max for texts and containers",
            )
        self._check_default(info, where)
        return check

    def _check_default(self, info: FieldInfo, where: str) -> None:
        """Check the default, except against `known`: at class definition the game may not have read its lists yet."""
        issues: list[Issue] = []
        check = self._compile(info.type, replace(info, known=None), set(), 0)
        if check is not None and isinstance(info.default, (int, float, str)):
            check.mend(info.default, where, issues)
        if issues:
            raise DefinitionError(
                f"{where}: the default {info.default!r} is not {issues[0].rule}", hint="change either"
            )

    def _compile(self, annotation: Any, info: FieldInfo, unused: set[str], depth: int) -> Check | None:
        """Compile at a `depth`: 0 for the field's own value, 1 for the entries of a container, more inside these."""
        if get_origin(annotation) is Annotated:
            return self._compile(get_args(annotation)[0], info, unused, depth)
        if get_origin(annotation) in (Union, types.UnionType):
            return self._union(get_args(annotation), info, unused, depth)
        origin = get_origin(annotation) or annotation
        is_container = origin is dict or origin in SEQUENCES
        checks: list[Check | None] = []
        if depth == 0 and info.length_max is not None and (is_container or origin in (str, bytes)):
            unused.discard("length_max")
            checks.append(_Length(info.length_max, info.on_invalid))
        if info.known is not None and (depth == 1 or (depth == 0 and not is_container)):
            checks.append(_Known(info.known, info.on_invalid))
        if is_container:
            checks.append(self._container(annotation, info, unused, depth))
        elif origin in (int, float) and (info.ge is not None or info.le is not None):
            unused -= {"ge", "le"}
            checks.append(_number(origin, info))
        elif isinstance(origin, type) and issubclass(origin, msgspec.Struct):
            checks.append(self._part(origin))
        found = tuple(check for check in checks if check is not None)
        return _AllOf(found) if len(found) > 1 else next(iter(found), None)

    def _container(self, annotation: Any, info: FieldInfo, unused: set[str], depth: int) -> Check | None:
        arguments = get_args(annotation) or (Any, Any)
        if (get_origin(annotation) or annotation) is not dict:
            entry = self._union(arguments, info, unused, depth + 1)
            return None if entry is None else _Entries(entry)
        keys = _Known(info.known, info.on_invalid) if info.known is not None and depth == 0 else None
        values = self._compile(arguments[1], replace(info, known=None), unused, depth + 1)
        return None if keys is None and values is None else _Values(keys, values)

    def _union(self, members: Iterable[Any], info: FieldInfo, unused: set[str], depth: int) -> Check | None:
        """Compile a union, or the entries of `tuple[int, str]`: each value is checked by its own class."""
        kinds = {member for member in members if member is not ...}
        if len(kinds) == 1:
            return self._compile(kinds.pop(), info, unused, depth)
        by_class: dict[type, Check] = {}
        for kind in kinds - {type(None)}:
            check = self._compile(kind, info, unused, depth)
            if check is not None:
                bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
                by_class[get_origin(bare) or bare] = check
        if float in by_class:
            by_class.setdefault(int, by_class[float])  # Python and the codecs accept 1 for a float
        return _ByClass(by_class) if by_class else None

    def _part(self, part: type) -> Check | None:
        if part not in self._parts:
            fields = self._parts[part] = _PartFields([])
            for info in self._declared(part):
                check = self.field(info, part.__name__)
                if check is not None:
                    fields.checks.append((info.name, check))
            self._finished.add(part)
        fields = self._parts[part]
        return None if part in self._finished and not fields.checks else fields


def _check_outcome(info: FieldInfo, where: str) -> None:
    if info.on_invalid is OK:
        raise DefinitionError(
            f"{where}: on_invalid=OK would let invalid values pass", hint="leave the bounds out instead"
        )
    if info.on_invalid is not CLAMP:
        return
    if info.known is not None or info.length_max is not None:
        raise DefinitionError(
            f"{where}: on_invalid=CLAMP would destroy a value that is too long or unknown",
            hint="use QUARANTINE, or a rule that returns an issue with the mended value",
        )
    if info.ge is None and info.le is None:
        raise DefinitionError(f"{where}: on_invalid=CLAMP has nothing to clamp to", hint="declare ge or le")


def _number(kind: type, info: FieldInfo) -> _Number:
    ge = -math.inf if info.ge is None else info.ge
    le = math.inf if info.le is None else info.le
    if kind is float:
        return _Number(float(ge), float(le), info.on_invalid)
    # Round inwards, so that a clamped integer is an integer.
    return _Number(ge if math.isinf(ge) else math.ceil(ge), le if math.isinf(le) else math.floor(le), info.on_invalid)
