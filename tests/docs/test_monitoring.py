"""docs/monitoring.md has the table of the metrics' catalogue; run this file to write it anew."""

from pathlib import Path

from realmkeep.operations.metrics.catalogue import METRICS, PREFIX

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"
BEGIN, END = "<!-- metrics: begin -->\n", "<!-- metrics: end -->\n"


def table() -> str:
    rows = ["| Metric | Type | Labels | Meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{PREFIX}{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.meaning} |"
        for metric in METRICS
    ]
    return "\n".join(rows) + "\n"


def with_table(page: str) -> str:
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def test_the_page_has_the_metrics_as_they_are_scraped() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page), "stale: run .venv/bin/python tests/docs/test_monitoring.py"


def test_a_cell_that_would_break_the_table_is_refused() -> None:
    assert all(row.count("|") == 5 for row in table().splitlines())


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
