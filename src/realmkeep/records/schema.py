"""The classification of a record's fields, as a table."""

from dataclasses import dataclass
from typing import Annotated, Any, get_args, get_origin

from realmkeep.records.fields import KEYWORD, MISSING, REJECT, FieldInfo, RecordInfo

_HEADINGS = ("field", "class", "tier", "immediate when", "type", "default", "bounds")


@dataclass(frozen=True)
class SchemaRow:
    """One field; each fact as text, empty if it does not apply.

    Attributes:
        field: Its name.
        class_: `durable` or `ephemeral`.
        tier: `IMMEDIATE`, `BATCHED` or `CHECKPOINT`; empty for ephemeral fields.
        trigger: `rises`, `changed`, `drops_to(n)` or the name of a function.
        type: The type as annotated.
        default: The default as written, or the name of its factory; `required` if there is none.
        bounds: The bounds, and the outcome of breaking them unless that is `REJECT`.
    """

    field: str
    class_: str
    tier: str
    trigger: str
    type: str
    default: str
    bounds: str

    def cells(self) -> tuple[str, ...]:
        """The row in the order of the table's columns."""
        return (self.field, self.class_, self.tier, self.trigger, self.type, self.default, self.bounds)


class Schema:
    """A record's classification table. `str()` and `print` give it as aligned text.

    Attributes:
        kind: The record's kind.
        version: Its schema version.
        rows: One for each field, in the order of their definition.
    """

    def __init__(self, info: RecordInfo) -> None:
        self.kind = info.kind
        self.version = info.version
        self.rows = tuple(_row(field) for field in info.fields.values())

    def __str__(self) -> str:
        table = [_HEADINGS, *(row.cells() for row in self.rows)]
        widths = [max(len(line[column]) for line in table) for column in range(len(_HEADINGS))]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table
        ]
        return "\n".join([f"{self.kind}, version {self.version}", *lines])

    def markdown(self) -> str:
        """The table in Markdown, without a heading."""
        table = [_HEADINGS, tuple("---" for _ in _HEADINGS), *(row.cells() for row in self.rows)]
        return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in table)

    def as_dict(self) -> dict[str, dict[str, str]]:
        """The facts of each field by its name, under the table's headings."""
        return {row.field: dict(zip(_HEADINGS[1:], row.cells()[1:], strict=True)) for row in self.rows}


def _row(field: FieldInfo) -> SchemaRow:
    return SchemaRow(
        field=field.name,
        class_="durable" if field.durable else "ephemeral",
        tier="" if field.tier is None else field.tier.name,
        trigger="" if field.trigger is None else field.trigger.name,
        type=type_text(field.type),
        default=_default(field),
        bounds=_bounds(field),
    )


def _default(field: FieldInfo) -> str:
    if field.default_factory is not None:
        return f"{getattr(field.default_factory, '__name__', 'function')}()"
    return "required" if field.default is MISSING else repr(field.default)


def _bounds(field: FieldInfo) -> str:
    parts = [
        f"{word} {bound}"
        for word, bound in (("from", field.ge), ("to", field.le), ("length to", field.length_max))
        if bound is not None
    ]
    if field.known is not None:
        parts.append(f"known: {getattr(field.known, '__name__', 'function')}")
    if parts and field.on_invalid is not REJECT:
        parts.append(field.on_invalid.name)
    return ", ".join(parts)


def type_text(annotation: Any) -> str:
    """Format a resolved annotation as in source code: `list[Item]`, `int | None`, `Keyword`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is ...:
        return "..."
    if annotation is type(None):
        return "None"
    if origin is Annotated:
        return "Keyword" if KEYWORD in arguments[1:] else type_text(arguments[0])
    if origin is None:
        return getattr(annotation, "__name__", str(annotation))
    name = getattr(origin, "__name__", str(origin))
    if name in ("Union", "UnionType"):
        return " | ".join(type_text(member) for member in arguments)
    inner = (repr(value) for value in arguments) if name == "Literal" else (type_text(value) for value in arguments)
    return f"{name}[{', '.join(inner)}]"
