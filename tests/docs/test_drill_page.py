"""The tables of the page of the drill are those of its code."""

import re
from pathlib import Path

from realmkeep.drill.checks import CHECKS
from realmkeep.drill.controls import CONTROLS
from realmkeep.drill.faults import FAULTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "drill.md").read_text(encoding="utf-8")


def rows(title: str, page: str = PAGE) -> dict[str, tuple[str, ...]]:
    """The table below a heading, by its first column."""
    part = page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    found = [
        tuple(map(str.strip, line.strip("|").split(" | "))) for line in part.splitlines() if line.startswith("| `")
    ]
    return {row[0].strip("`"): row[1:] for row in found}


def test_the_page_has_every_fault_and_nothing_else() -> None:
    assert rows("The faults") == {name: (fault.what,) for name, fault in FAULTS.items()}


def test_the_page_has_every_check_and_every_control() -> None:
    assert rows("What it checks") == {name: (what,) for name, what in CHECKS.items()}
    assert rows("The controls") == {name: (each.what, f"`{each.check}`") for name, each in CONTROLS.items()}
    assert re.search(r"`server-kill-at-point` \| .*write-begins", PAGE)


def test_every_fault_has_its_row_among_the_failures_and_what_it_quotes_exists() -> None:
    page = (ROOT / "docs" / "failure-modes.md").read_text(encoding="utf-8")
    found = rows("Every fault of the drill", page)
    assert found.keys() == FAULTS.keys()
    metrics = set(
        re.findall(r"^\| `(realmkeep_\w+)`", (ROOT / "docs" / "monitoring.md").read_text("utf-8"), re.MULTILINE)
    )
    code = " ".join(path.read_text("utf-8") for path in (ROOT / "src").rglob("*.py") if "drill" not in path.parts[-3:])
    for player, operator, lost, to_do in found.values():
        assert all((player, operator, lost, to_do))
        quoted = re.findall("`([^`]+)`", operator)
        assert [each for each in quoted if each.startswith("realmkeep_") and each not in metrics] == []
        assert [each for each in quoted if not each.startswith("realmkeep_") and each not in code] == []
