"""Views for support and analytics: one a record class and schema version, with a column for each stored field.

A view has a contract: its name has the schema version, its columns are the fields of that version, and it shows living rows alone.
A later release adds the view of its own version and leaves the former one, which shows the records that were not written since.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from realmkeep.records.definition import value_types

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from realmkeep.records import Record

TYPES: Final[dict[type | None, str]] = {
    int: "bigint",
    float: "double precision",
    bool: "boolean",
    str: "text",
}
"""The type of a column by that of its field; every other field is JSONB."""


def views_of(classes: Sequence[type[Record]], role: str) -> str:
    """The statements that make the views, and a role that may read these alone.

    Args:
        classes: The record classes of the game.
        role: The name of the role; give it to the users of support and analytics.
    """
    statements = [*_role(role)]
    for cls in sorted(classes, key=_name):
        statements += [_view(cls), f"GRANT SELECT ON {_quoted(_name(cls))} TO {_quoted(role)}"]
    return "".join(f"{statement};\n" for statement in statements)


def _role(role: str) -> Iterator[str]:
    """PostgreSQL has no CREATE ROLE IF NOT EXISTS."""
    name = role.replace("'", "''")
    exists = f"SELECT FROM pg_roles WHERE rolname = '{name}'"
    yield f"DO $$ BEGIN IF NOT EXISTS ({exists}) THEN CREATE ROLE {_quoted(role)} NOLOGIN; END IF; END $$"


def _name(cls: type[Record]) -> str:
    info = cls.__realmkeep__
    of = f"{info.kind}_{info.suffix}" if info.suffix else info.kind
    return f"{of.replace('-', '_')}_v{info.version}"


def _view(cls: type[Record]) -> str:
    info = cls.__realmkeep__
    columns = [_column(field.name, field.type) for field in info.durable]
    where = f"version = {info.version} AND deleted_at IS NULL AND data_ok"
    suffix = f":{info.suffix}" if info.suffix else ""
    rows = [
        _select(
            "id", columns, f"records WHERE kind = '{info.kind}' AND key = kind || ':' || id || '{suffix}' AND {where}"
        )
    ]
    if info.kind == "player" and not suffix:
        rows.append(_select("player_id::text", columns, f"players WHERE {where}"))
    return f"CREATE OR REPLACE VIEW {_quoted(_name(cls))} AS\n" + "\nUNION ALL\n".join(rows)


def _select(id_: str, columns: Sequence[str], source: str) -> str:
    own = [f"{id_} AS record_id", "updated_at AS record_updated_at", "revision AS record_revision"]
    return f"SELECT {', '.join([*own, *columns])} FROM {source}"  # noqa: S608 - names of the code, quoted


def _column(name: str, annotation: Any) -> str:
    kind, _ = value_types(annotation)
    sql = TYPES.get(kind)
    path = name.replace("'", "''")
    value = f"data -> '{path}'" if sql is None else f"(data ->> '{path}')::{sql}"
    return f"{value} AS {_quoted(name)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
