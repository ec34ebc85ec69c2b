"""The fields of records that hold ids of players: friend lists, block lists, members of guilds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from realmkeep.records.fields import MISSING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from realmkeep import Record


def forget_players(record: Record, fields: Sequence[str], is_gone: Callable[[str], bool]) -> tuple[str, ...]:
    """Take the ids of players out of a record's fields; returns the fields that changed.

    A list, set or tuple loses the entries, a dictionary the keys, and a field with one id gets its default.

    Args:
        record: The record, which is changed.
        fields: The names of its fields that hold ids of players.
        is_gone: Whether the player with this id is gone.
    """
    changed: list[str] = []
    for name in fields:
        value = getattr(record, name)
        kept = _without(value, is_gone, record.__realmkeep__.fields[name].default)
        if kept != value:
            setattr(record, name, kept)
            changed.append(name)
    return tuple(changed)


def _without(value: Any, is_gone: Callable[[str], bool], default: Any) -> Any:
    if isinstance(value, dict):
        entries = cast("dict[Any, Any]", value)
        return {key: each for key, each in entries.items() if not is_gone(str(key))}
    if isinstance(value, (list, tuple, set, frozenset)):
        members = cast("list[Any]", value)
        return type(members)(each for each in members if not is_gone(str(each)))
    return default if value is not None and default is not MISSING and is_gone(str(value)) else value
