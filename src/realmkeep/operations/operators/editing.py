"""One field of a record, changed through the loading path: the value is checked as a stored one is."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import msgspec

from realmkeep.errors import ActRefused, RecordError
from realmkeep.records import Limits, load
from realmkeep.records.codecs import decode, encode
from realmkeep.records.json_codec import with_crc

if TYPE_CHECKING:
    from realmkeep.records import Record

_STEP: Final = re.compile(r"(?:^|\.)([^.\[\]]+)|\[(\d{1,6})\]")
ABSENT: Final = "(absent)"  # the value of a key or an entry that is not there yet


class Edited(NamedTuple):
    """A record with one changed value.

    Attributes:
        record: A copy with the change.
        before: The value before, as JSON; `ABSENT` if there was none.
        after: The value after, as the record stores it.
    """

    record: Record
    before: Any
    after: Any


def edited(record: Record, field: str, value: Any, limits: Limits) -> Edited:
    """A copy of a record with one changed value, loaded as if it came from the store.

    Args:
        record: The record; it is not changed.
        field: `gold`, `settings.music`, `inventory[0].count`; the index behind the last entry adds one.
        value: JSON's types.
        limits: The caps on the record.

    Raises:
        ActRefused: There is no such field; or the value has another type, breaks a bound or a rule, or would be mended.
    """
    cls = type(record)
    steps = _steps(field, record)
    plain = decode(encode(record, limits=limits), cls, limits=limits)
    before = _replace(plain, steps, value, field)
    try:
        loaded = load(with_crc(msgspec.json.encode(plain)), cls, limits=limits)
    except RecordError as error:
        raise ActRefused(f"{field} cannot be {_shown(value)}: {error.message}", hint=error.hint) from error
    except (TypeError, ValueError) as error:
        raise ActRefused(f"{field} cannot be {_shown(value)}: {error}", hint="give a value of JSON") from error
    if loaded.record is None or loaded.issues:
        raise ActRefused(
            f"{field} cannot be {_shown(value)}: {'; '.join(str(issue) for issue in loaded.issues)}",
            hint="`realmkeep player show` has the type and the bounds of each field",
        )
    stored = decode(encode(loaded.record, limits=limits), cls, limits=limits)
    return Edited(loaded.record, before, _value_at(stored, steps))


def assign(record: Record, changed: Record) -> None:
    """Give a live record the durable values of a copy; only fields that differ are assigned."""
    for field in record.__realmkeep__.durable:
        value = getattr(changed, field.name)
        if value != getattr(record, field.name):
            setattr(record, field.name, value)


def top_field(field: str) -> str:
    """The field of the record in which a path begins."""
    return re.split(r"[.\[]", field, maxsplit=1)[0]


def _steps(field: str, record: Record) -> list[str | int]:
    info = record.__realmkeep__
    found = list(_STEP.finditer(field))
    if not found or "".join(each.group() for each in found) != field or top_field(field) not in _durable(record):
        raise ActRefused(
            f"{info.kind} has no stored field {field!r:.80}", hint=f"its fields are {', '.join(_durable(record))}"
        )
    return [each[1] if each[1] is not None else int(each[2]) for each in found]


def _durable(record: Record) -> list[str]:
    return [field.name for field in record.__realmkeep__.durable]


def _replace(plain: dict[str, Any], steps: list[str | int], value: Any, field: str) -> Any:
    """Replace the value at a path; returns the one before.

    Raises:
        ActRefused: The path leads through a value that has no such place.
    """
    place: Any = plain
    for step in steps[:-1]:
        place = _entry(place, step, field)
    last = steps[-1]
    if isinstance(place, dict) and isinstance(last, str):
        entries = cast("dict[str, Any]", place)
        before = entries.get(last, ABSENT)
        entries[last] = value
        return before
    if isinstance(place, list) and isinstance(last, int) and last <= len(cast("list[Any]", place)):
        items = cast("list[Any]", place)
        before = items[last] if last < len(items) else ABSENT
        items[last : last + 1] = [value]
        return before
    raise _no_place(field)


def _entry(place: Any, step: str | int, field: str) -> Any:
    try:
        return place[step]
    except (KeyError, IndexError, TypeError):
        raise _no_place(field) from None


def _no_place(field: str) -> ActRefused:
    return ActRefused(
        f"there is no {field!r:.80} in this record", hint="name a field, or a place inside one that exists"
    )


def _value_at(plain: dict[str, Any], steps: list[str | int]) -> Any:
    place: Any = plain
    for step in steps:
        place = place[step]
    return place


def _shown(value: Any) -> str:
    return repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:77]}..."
