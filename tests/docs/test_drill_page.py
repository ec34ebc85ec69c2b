"""The tables of the page of the drill are those of its code."""

import re
from pathlib import Path

from realmkeep.drill.checks import CHECKS
from realmkeep.drill.controls import CONTROLS
from realmkeep.drill.faults import FAULTS

PAGE = (Path(__file__).parents[2] / "docs" / "drill.md").read_text(encoding="utf-8")


def rows(title: str) -> dict[str, tuple[str, ...]]:
    """The table below a heading, by its first column."""
    part = PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
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
