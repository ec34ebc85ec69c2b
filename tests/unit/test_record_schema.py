from realmkeep.records.fields import CLAMP, IMMEDIATE, Keyword, changed, drops_to, durable, ephemeral
from realmkeep.records.record import Part, Record


class Gem(Part):
    gem: Keyword


def is_zone(zone: str) -> bool:
    return zone == "town"


class Mage(Record, kind="mage-of-schema", version=1):
    """Every column has something to show."""

    name: str = durable(length_max=20)
    hp: int = durable(default=100, ge=0, le=200, on_invalid=CLAMP, immediate_when=drops_to(0))
    rank: Keyword | None = durable(default=None, immediate_when=changed)
    zone: Keyword = durable(default="town", known=is_zone)
    gems: dict[str, tuple[Gem, ...]] = durable(default_factory=dict[str, tuple[Gem, ...]], tier=IMMEDIATE)
    target: int | None = ephemeral(default=None)


ROWS = {
    "name": ("durable", "BATCHED", "", "str", "required", "length to 20"),
    "hp": ("durable", "BATCHED", "drops_to(0)", "int", "100", "from 0, to 200, CLAMP"),
    "rank": ("durable", "BATCHED", "changed", "Keyword | None", "None", ""),
    "zone": ("durable", "BATCHED", "", "Keyword", "'town'", "known: is_zone"),
    "gems": ("durable", "IMMEDIATE", "", "dict[str, tuple[Gem, ...]]", "dict()", ""),
    "target": ("ephemeral", "", "", "int | None", "None", ""),
}
HEADINGS = ("class", "tier", "immediate when", "type", "default", "bounds")


def test_the_schema_lists_every_field_with_all_that_is_declared() -> None:
    schema = Mage.schema()
    assert (schema.kind, schema.version) == ("mage-of-schema", 1)
    assert schema.as_dict() == {name: dict(zip(HEADINGS, cells, strict=True)) for name, cells in ROWS.items()}
    assert [row.cells() for row in schema.rows] == [(name, *cells) for name, cells in ROWS.items()]


def test_the_printed_table_is_aligned() -> None:
    title, *lines = str(Mage.schema()).splitlines()
    assert title == "mage-of-schema, version 1"
    assert len(lines) == 1 + len(ROWS)
    for column, heading in enumerate(HEADINGS):
        at = lines[0].index(heading)
        for line, cells in zip(lines[1:], ROWS.values(), strict=True):
            assert line[at:].startswith(cells[column])
            assert line[at - 2 : at].strip() == ""


def test_the_markdown_table_has_a_cell_for_every_fact() -> None:
    lines = Mage.schema().markdown().splitlines()
    assert lines[0] == "| field | " + " | ".join(HEADINGS) + " |"
    assert len(lines) == 2 + len(ROWS)
    assert {line.replace("\\|", "").count("|") for line in lines} == {len(HEADINGS) + 2}
    assert "| Keyword \\| None |" in lines[4]
