"""Ratios, aims, page and chart of a comparison, from figures made by hand; and the committed ones agree with each other."""

from pathlib import Path
from xml.etree import ElementTree as ET

import msgspec
import pytest

from realmkeep.benchmarks.comparison.aims import COUNTS_MAX, aims_of
from realmkeep.benchmarks.comparison.chart import BARS_FROM, BARS_TO, MARGIN, drawn
from realmkeep.benchmarks.comparison.page import BEGIN, read_results, write_page, write_results, written
from realmkeep.benchmarks.comparison.results import (
    Aim,
    Figure,
    Machine,
    NamedSpread,
    Part,
    Results,
    Spread,
    number,
    spread,
)
from realmkeep.benchmarks.instructions import Counts
from realmkeep.cli.app import app
from realmkeep.errors import Misuse

ROOT = Path(__file__).parents[2]
HOW_CHARACTER_PX = 5.6  # on average, of a font of 11 px
SVG = "{http://www.w3.org/2000/svg}"


def figure(key: str, *rounds: float, took: Spread | None = None, is_limit: bool = False) -> Figure:
    return Figure(
        key=key,
        way=f"way <{key}>",
        value=sorted(rounds)[len(rounds) // 2],
        unit="trades/s",
        rounds=rounds,
        at_once=64,
        pipelining="group commit",
        fsync="always",
        is_limit=is_limit,
        took=took,
    )


def part(key: str, *figures: Figure, spreads: tuple[NamedSpread, ...] = ()) -> Part:
    return Part(key=key, title=f"title of {key}", work="the work", figures=figures, spreads=spreads)


def took(p50_ms: float) -> Spread:
    return Spread(p50_ms, 2 * p50_ms, 3 * p50_ms, 4 * p50_ms)


TRADES = part(
    "trades",
    figure("realmkeep-1", 900.0, took=took(3.0)),
    figure("realmkeep-64", 9000.0, 10000.0, 12000.0),
    figure("realmkeep-1024", 8000.0, 9500.0, 9600.0),
    figure("multi-64", 1000.0, 2000.0, 4000.0),
    figure("round-trip", 500.0, took=took(2.0), is_limit=True),
)


def results(*parts: Part) -> Results:
    return Results(
        commit="abc1234",
        measured_on="2026-11-30",
        is_quick=False,
        seconds=1.0,
        rounds=3,
        machine=Machine("A & B <processor>", 2, 8.0, "Linux 6", "ext4 on /dev/x", "CPython", "valkey 9", 0.1),
        instructions=None,
        parts=parts,
        aims=aims_of(parts, None),
        not_run=("PostgreSQL: no server",),
    )


def value_of(aims: tuple[Aim, ...], beginning: str) -> Aim:
    (found,) = [aim for aim in aims if aim.name.startswith(beginning)]
    return found


def test_a_ratio_is_of_neighbours_in_time_and_not_of_medians() -> None:
    assert TRADES.ratio("realmkeep-64", "multi-64") == 5.0  # 9, 5 and 3
    with pytest.raises(KeyError):
        TRADES.ratio("realmkeep-64", "nothing")


def test_each_aim_has_its_value_and_its_direction() -> None:
    aims = aims_of([TRADES], None)
    assert value_of(aims, "trades of 64 traders / redis-py").holds is True
    assert value_of(aims, "trades of 1,024").value == pytest.approx(0.889)
    assert value_of(aims, "trades of 1,024").holds is False
    assert value_of(aims, "a trade alone").value == 1.5
    assert value_of(aims, "a trade alone").holds is True
    assert value_of(aims, "trades of 64 traders / SQLite").holds is None  # the way is missing
    assert value_of(aims, "flush, always / commit").holds is None  # the part is missing


def test_the_aims_of_flushes_logins_and_stored_players() -> None:
    flush = part(
        "flush-always",
        figure("realmkeep", 65.0),
        figure("replay", 100.0),
        spreads=(NamedSpread("slice-cpu", "a", took(0.3)), NamedSpread("slice-wall", "b", took(0.4))),
    )
    stored = part("stored", figure("stored-1000", 40.0), figure("stored-1000000", 44.0))
    logins = part("logins-always", figure("realmkeep", 10.0), figure("read", 20.0))
    aims = aims_of([flush, stored, logins, part("before", figure("flush-always", 50.0))], None)
    assert [(aim.value, aim.holds) for aim in aims if aim.value is not None] == [
        (0.65, True),
        (1.3, False),
        (0.9, True),
        (1.2, False),
        (1.1, True),
        (0.5, False),
    ]


def test_counts_have_aims() -> None:
    most = {key: bound for key, (bound, _) in COUNTS_MAX.items()}
    assert all(aim.holds for aim in aims_of([], Counts(**most))[: len(most)])
    assert not any(aim.holds for aim in aims_of([], Counts(**{key: n + 1 for key, n in most.items()}))[: len(most)])
    assert {aim.holds for aim in aims_of([], None)} == {None}


def test_a_spread_is_of_the_durations_that_were_measured() -> None:
    assert spread([0.001 * each for each in range(1, 1001)]) == Spread(500.0, 990.0, 999.0, 1000.0)
    assert spread([0.25]) == Spread(250.0, 250.0, 250.0, 250.0)


@pytest.mark.parametrize(
    ("value", "said"), [(123456.7, "123,457"), (99.96, "100"), (1.2345, "1.23"), (0.00123, "0.00123")]
)
def test_a_number_has_three_digits(value: float, said: str) -> None:
    assert number(value) == said


def test_the_tables_have_every_figure_with_its_conditions() -> None:
    text = written(results(TRADES))
    for each in TRADES.figures:
        name = f"*{each.way}*" if each.is_limit else each.way
        assert f"| {name} | {number(each.value)} | 64 | group commit | always |" in text
    assert "NOT RUN: PostgreSQL: no server." in text
    assert "| trades of 1,024 traders / of 64 | 0.889 | ≥ 0.9 | **no** |" in text
    assert "| cost of a changed player, with a million stored / with 1,000 |  | ≤ 1.1 | not measured |" in text


def test_the_chart_is_drawn_to_scale_and_names_each_condition() -> None:
    root = ET.fromstring(drawn(results(TRADES, part("unknown", figure("x", 1.0)))))
    bars = [each for each in root.iter(f"{SVG}rect") if each.get("x") == str(BARS_FROM)]
    assert len(bars) == len(TRADES.figures)
    longest = max(each.value for each in TRADES.figures)
    for bar, of in zip(bars, TRADES.figures, strict=True):
        assert float(bar.get("width", "")) == pytest.approx((BARS_TO - BARS_FROM) * of.value / longest, abs=0.1)
        assert bar.get("class") == ("limit" if of.is_limit else "other")
    texts = [each.text for each in root.iter(f"{SVG}text")]
    assert texts.count("64 at once; group commit; fsync: always") == len(TRADES.figures)
    assert "prefers-color-scheme: dark" in "".join(each.text or "" for each in root.iter(f"{SVG}style"))


def test_the_end_of_a_page_is_replaced_and_its_beginning_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{BEGIN}\n\nold figures\n", encoding="utf-8")
    write_page(results(TRADES), page)
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# Title\n\n{BEGIN}\n\n![")
    assert "(page.svg)" in text
    assert "old figures" not in text
    assert (tmp_path / "page.svg").read_text(encoding="utf-8") == drawn(results(TRADES))
    page.write_text("# No mark\n", encoding="utf-8")
    with pytest.raises(Misuse, match="no place for the results"):
        write_page(results(TRADES), page)


def test_redraw_reads_what_compare_wrote(tmp_path: Path) -> None:
    page, path = tmp_path / "page.md", tmp_path / "results.json"
    page.write_text(BEGIN, encoding="utf-8")
    write_results(results(TRADES), path)
    app(["bench", "redraw", "--results", str(path), "--page", str(page)], result_action="return_value")
    assert page.read_text(encoding="utf-8") == f"{BEGIN}\n\n{written(results(TRADES), 'page.svg')}"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(Misuse, match="has no results"):
        read_results(path)


def test_the_committed_page_and_chart_are_drawn_from_the_committed_results() -> None:
    committed = read_results(ROOT / "benchmarks" / "results.json")
    page = ROOT / "docs" / "performance.md"
    _, _, end = page.read_text(encoding="utf-8").partition(BEGIN)
    assert end.strip() == written(committed, "performance.svg").strip()
    assert page.with_suffix(".svg").read_text(encoding="utf-8") == drawn(committed)
    texts = [
        each.text or "" for each in ET.fromstring(drawn(committed)).iter(f"{SVG}text") if each.get("class") == "how"
    ]
    assert max(map(len, texts)) * HOW_CHARACTER_PX < BARS_FROM - MARGIN, "a condition would lie under a bar"
    assert not committed.is_quick
    assert len(committed.aims) == len(aims_of([], None))
    assert msgspec.structs.replace(committed, aims=aims_of(committed.parts, committed.instructions)) == committed
