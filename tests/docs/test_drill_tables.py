"""The tables of the promises are those that the results of the drill give, cell by cell."""

from pathlib import Path

import pytest

from realmkeep.drill.faults import FAULTS
from realmkeep.drill.promises import ROWS, cell, redrawn
from realmkeep.drill.report import StoreReport, Verdict, read_results

ROOT = Path(__file__).parents[2]
RESULTS = read_results((ROOT / "docs" / "drill.json").read_bytes())


@pytest.mark.parametrize("name", ["README.md", "docs/drill.md"])
def test_a_table_is_as_the_results_write_it(name: str) -> None:
    page = (ROOT / name).read_text(encoding="utf-8")
    assert redrawn(page, RESULTS) == page, "./dev drill redraw"
    assert "| `embedded` |" in page


def test_each_fault_is_in_one_row() -> None:
    assert sorted(fault for _, faults in ROWS for fault in faults) == sorted(FAULTS)


def test_the_published_drills_broke_no_promise_and_caught_every_control() -> None:
    assert [report.store for report in RESULTS.stores if report.failed] == []


def test_a_cell_says_what_was_lost_and_what_was_not_tried() -> None:
    report = StoreReport("x", "", lossless=True, seeds=[], seconds=0, servers=1, bots=2, promised_s=2.0)
    assert cell(report, ["server-kill"]) == "not proved"
    report.faults["server-kill"] = Verdict(rounds=3)
    assert cell(report, ["server-kill"]) == "not proved"  # it was tried, and not seen to happen
    report.faults["server-kill"].fired = 3
    assert cell(report, ["server-kill"]) == "nothing (3)"
    assert cell(report, ["server-kill", "servers-kill"]) == "nothing (3, in part)"
    report.faults["servers-kill"] = Verdict(fired=2, window_s=1.5, power_s=0.7)
    assert cell(report, ["server-kill", "servers-kill"]) == "the last 0.7 s; 1.5 of 2 s (5)"
    report.faults["servers-kill"].doubled = 1
    assert cell(report, ["server-kill", "servers-kill"]) == "**broken 1 times** (5)"
