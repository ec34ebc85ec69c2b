"""The stored layout of each record class in a file beside the code, so that a change without a new version is found."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec

from realmkeep.errors import ConfigError
from realmkeep.files import read_file, replace_file
from realmkeep.operations.record_survey import kind_of
from realmkeep.records import Part
from realmkeep.records.fields import MISSING
from realmkeep.records.schema import type_text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from realmkeep import Record

FILE: Final = "record_layouts.json"
FILE_BYTES_MAX: Final = 4 * 1024**2
OPTIONAL: Final = ", optional"


class Layout(msgspec.Struct, frozen=True):
    """The stored layout of one class: bounds, tiers and triggers are no part of it.

    Attributes:
        version: Its schema version.
        fields: The type of each durable field by its name; `optional` if it has a default.
        parts: The same of each part that the fields hold, by its name.
    """

    version: int
    fields: dict[str, str]
    parts: dict[str, dict[str, str]] = {}


class LayoutChange(msgspec.Struct, frozen=True):
    """One difference between the classes and the file.

    Attributes:
        kind: The kind of the class.
        what: The sentence.
        needs_version: The class changed without a new version, or allows readers that its change excludes.
    """

    kind: str
    what: str
    needs_version: bool


def layout_of(cls: type[Record]) -> Layout:
    """The stored layout of a class."""
    info = cls.__realmkeep__
    parts: dict[str, dict[str, str]] = {}
    for field in info.durable:
        _add_parts(field.type, parts)
    fields = {field.name: _declared(field) for field in info.durable}
    return Layout(info.version, fields, dict(sorted(parts.items())))


def _declared(field: Any) -> str:
    optional = field.default is not MISSING or field.default_factory is not None
    return f"{type_text(field.type)}{OPTIONAL if optional else ''}"


def _add_parts(annotation: Any, parts: dict[str, dict[str, str]]) -> None:
    if isinstance(annotation, type) and issubclass(annotation, Part) and annotation.__name__ not in parts:
        fields: Any = getattr(annotation, "__realmkeep_part__")  # noqa: B009 - made by the metaclass
        parts[annotation.__name__] = {field.name: _declared(field) for field in fields}
        for field in fields:
            _add_parts(field.type, parts)
    for argument in get_args(annotation):
        _add_parts(argument, parts)


def path_beside(cls: type[Record]) -> Path:
    """The file of the classes of a game: beside the module of its first class.

    Raises:
        ConfigError: The class comes from no file.
    """
    try:
        return Path(inspect.getfile(cls)).with_name(FILE)
    except (TypeError, OSError) as error:
        raise ConfigError(f"{cls.__name__} comes from no file", hint="name the file with --file") from error


def read_layouts(path: Path) -> dict[str, Layout]:
    """The layouts in a file; none if there is no file. Blocks.

    Raises:
        ConfigError: The file is no such file.
        OSError: It cannot be read.
    """
    try:
        return msgspec.json.decode(read_file(path, bytes_max=FILE_BYTES_MAX), type=dict[str, Layout])
    except FileNotFoundError:
        return {}
    except (msgspec.MsgspecError, ValueError) as error:
        raise ConfigError(f"{path} has no layouts: {error}", hint="restore it from your version control") from error


def compare(classes: Iterable[type[Record]], known: dict[str, Layout]) -> list[LayoutChange]:
    """Each difference between the classes and the layouts of a file."""
    findings: list[LayoutChange] = []
    for cls in classes:
        kind, now = kind_of(cls), layout_of(cls)
        was = known.get(kind)
        if was is None:
            findings.append(LayoutChange(kind, f"version {now.version} is not in the file yet", needs_version=False))
        elif now.version < was.version:
            findings.append(
                LayoutChange(kind, f"version {now.version} is older than {was.version}", needs_version=True)
            )
        elif now != was and now.version == was.version:
            changes = "; ".join(_changes(was, now)) or "its fields have another order"
            findings.append(LayoutChange(kind, f"version {now.version} has changed: {changes}", needs_version=True))
        elif now != was:
            findings.append(LayoutChange(kind, f"version {now.version} follows {was.version}", needs_version=False))
            readable_by = cls.__realmkeep__.readable_by
            if readable_by is not None and readable_by <= was.version and (lost := _unreadable(was, now)):
                what = f"readable_by={readable_by} does not hold for version {was.version}: {'; '.join(lost)}"
                findings.append(LayoutChange(kind, what, needs_version=True))
    return findings


def _unreadable(was: Layout, now: Layout) -> list[str]:
    """The changes that code of the former layout cannot read and write back: all but added fields with a default."""
    added = sorted(now.fields.keys() - was.fields.keys())
    kept = {name: declared for name, declared in now.fields.items() if name in was.fields}
    parts = {name: fields for name, fields in now.parts.items() if name in was.parts}
    return [
        *[f"{name} is new and has no default" for name in added if not now.fields[name].endswith(OPTIONAL)],
        *_changes(was, Layout(now.version, kept, parts)),
    ]


def _changes(was: Layout, now: Layout) -> list[str]:
    tables = {"": (was.fields, now.fields)}
    tables |= {f"{name}.": (was.parts.get(name, {}), now.parts.get(name, {})) for name in {**was.parts, **now.parts}}
    return [
        f"{prefix}{name} was {before.get(name, 'absent')}, and is {after.get(name, 'absent')}"
        for prefix, (before, after) in tables.items()
        for name in {**before, **after}
        if before.get(name) != after.get(name)
    ]


def write_layouts(path: Path, classes: Iterable[type[Record]]) -> None:
    """Write the present layouts, for version control. Blocks.

    Raises:
        OSError: It cannot be written.
    """
    layouts = {kind_of(cls): layout_of(cls) for cls in classes}
    encoded = msgspec.json.format(msgspec.json.encode(dict(sorted(layouts.items()))), indent=2)
    replace_file(path, encoded + b"\n")
