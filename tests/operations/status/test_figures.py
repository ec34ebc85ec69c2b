"""The lines of a report: exact figures, and attention exactly where a threshold is crossed."""

from typing import Any

import msgspec
import pytest
from rich.console import Console

from operations.status.reports import EDGES_S, WELL, changed
from realmkeep.operations.status.figures import Attention, lines
from realmkeep.operations.status.report import Durations
from realmkeep.operations.status.screen import Screen, drawn, shown

NONE, WARNING, CRITICAL = Attention


def test_a_server_that_is_well_needs_no_attention() -> None:
    told = {line.name: line.text for line in lines(WELL)}
    assert told == {
        "oldest": "12 s of 30 s",
        "dirty": "10 records",
        "player": "3 connected, 1 grace",
        "commits": "1,234 committed",
        "commit": "half <= 10 ms, 99 % <= 10 ms",
        "round trip": "half <= 1 ms, 99 % <= 10 ms",
        "flush": "none yet",
        "loop": "half <= 1 ms, 99 % <= 1 ms",
        "queue": "2 of 20,000 writes",
        "store": "valkey 9.1.2, fsync always, answers",
        "memory": "1 of 4 MiB, 25%",
        "lease": "24 s of 30 s",
    }
    assert {line.attention for line in lines(WELL)} == {NONE}


@pytest.mark.parametrize(
    ("name", "fields", "attention"),
    [
        ("oldest", {"oldest_dirty_s": 30.0}, NONE),
        ("oldest", {"oldest_dirty_s": 30.1}, WARNING),
        ("oldest", {"oldest_dirty_s": 35.1}, CRITICAL),
        ("dirty", {"dirty_records": 1_000}, NONE),
        ("dirty", {"dirty_records": 1_001}, WARNING),
        ("dirty", {"dirty_records": 5_001}, CRITICAL),
        ("frozen", {"frozen_records": 1}, WARNING),
        ("commits", {"commits": {"committed": 1, "unknown": 1}}, WARNING),
        ("round trip", {"durations": {"store": Durations(EDGES_S, (0, 98, 2, 0, 0), 1.0)}}, WARNING),
        ("round trip", {"durations": {"store": Durations(EDGES_S, (0, 98, 0, 2, 0), 1.0)}}, CRITICAL),
        ("flush", {"durations": {"flush": Durations(EDGES_S, (0, 0, 0, 0, 1), 9.0)}}, CRITICAL),
        ("queue", {"queue_depth": 10_001}, WARNING),
        ("queue", {"queue_depth": 18_001}, CRITICAL),
        ("store", {"store": msgspec.structs.replace(WELL.store, answers=False)}, CRITICAL),
        ("memory", {"store": msgspec.structs.replace(WELL.store, memory_used_bytes=3 * 2**20)}, WARNING),
        ("memory", {"store": msgspec.structs.replace(WELL.store, memory_used_bytes=2**22)}, CRITICAL),
        ("memory", {"store": msgspec.structs.replace(WELL.store, memory_max_bytes=0)}, WARNING),
        ("lease", {"lease_left_s": 9.9}, CRITICAL),
    ],
)
def test_a_line_needs_attention_beyond_its_threshold(name: str, fields: dict[str, Any], attention: Attention) -> None:
    (line,) = [line for line in lines(changed(**fields)) if line.name == name]
    assert line.attention is attention, line


def test_between_two_reports_counts_are_rates_and_durations_are_those_since() -> None:
    now = changed(
        up_s=WELL.up_s + 2,
        commits={"committed": 1_254, "repeated": 4, "unknown": 0},
        durations={"store": Durations(EDGES_S, (50, 50, 10, 0, 0), 2.0)},
    )
    told = {line.name: line for line in lines(now, WELL)}
    assert told["commits"].text == "10/s committed, 2/s repeated"
    assert told["commits"].value == 10
    assert told["round trip"].text == "half <= 100 ms, 99 % <= 100 ms"


def test_a_server_that_was_started_again_counts_anew() -> None:
    again = changed(incarnation="other", up_s=1.0, commits={"committed": 3})
    assert {line.name: line.text for line in lines(again, WELL)}["commits"] == "3 committed"


def test_a_store_without_figures_has_no_line_for_them() -> None:
    store = msgspec.structs.replace(WELL.store, memory_used_bytes=None, memory_max_bytes=None)
    assert "memory" not in {line.name for line in lines(changed(store=store))}


def text_of(renderable: Any, columns: int = 80) -> list[str]:
    console = Console(width=columns, force_terminal=False, highlight=False)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get().splitlines()


def test_a_report_fits_eighty_columns_and_says_first_what_is_wrong() -> None:
    report = changed(
        ready=False,
        not_ready=("the store does not answer",),
        degraded=("nothing can be stored: " + "a long reason " * 20,),
        commits={f"outcome_{number}": 12_345_678 for number in range(9)},
    )
    told = text_of(shown(report))
    assert told[0].startswith("town-1  NOT READY  up 1:01:40  realmkeep 0.1.0")
    assert told[1] == "not ready: the store does not answer"
    assert told[2].startswith("DEGRADED: nothing can be stored")
    assert max(map(len, told)) <= 80
    assert "12,345,678 outcome 8" in " ".join(" ".join(told).split())


def test_the_screen_fits_eighty_columns_and_shows_the_course() -> None:
    screen = Screen("127.0.0.1:9464")
    assert max(map(len, text_of(screen.after(WELL)))) <= 80
    screen.after(changed(up_s=WELL.up_s + 1, dirty_records=50))
    told = text_of(screen.after(changed(up_s=WELL.up_s + 2, dirty_records=100)))
    assert max(map(len, told)) <= 80
    (dirty,) = [line for line in told if line.startswith("dirty")]
    assert dirty.split() == ["dirty", "100", "records", "▅█"]
    assert "no answer" in text_of(screen.without("no answer"))[0]


def test_a_course_is_drawn_from_zero() -> None:
    assert drawn([0, 5, 10]) == "▁▅█"
    assert drawn([0, 0]) == "▁▁"
    assert drawn([]) == ""


def test_a_name_from_the_network_cannot_style_the_terminal() -> None:
    told = text_of(shown(changed(degraded=("[bold]loud[/bold] \x1b[2J",), sessions={"[red]": {"connected": 1}})))
    assert any("\\x1b[2J" in line for line in told)
    assert any("[bold]loud[/bold]" in line for line in told)
    assert any(line.startswith("[red]") for line in told)
