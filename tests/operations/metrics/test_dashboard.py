"""The dashboard: every expression parses and names only metrics that exist, and no two panels overlap."""

import json
import re
from itertools import combinations
from typing import Any

import promql_parser
import pytest

from operations.metrics.dashboard import encoded
from operations.metrics.expressions import metrics_in
from realmkeep.operations.metrics import DASHBOARD
from realmkeep.operations.metrics.catalogue import METRICS, PREFIX

BOARD: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
VARIABLES = {"$__rate_interval": "1m", "$instance": ".*"}
LABELS = {PREFIX + metric.name: {*metric.labels, "instance", "le"} for metric in METRICS}


def expressions() -> list[tuple[str, str, str]]:
    """Title, expression and legend of every query, with Grafana's variables filled in."""
    found: list[tuple[str, str, str]] = []
    for panel in PANELS:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in VARIABLES.items():
                expression = expression.replace(name, value)
            found.append((panel["title"], expression, target["legendFormat"]))
    return found


def test_the_file_is_what_the_builder_makes() -> None:
    assert DASHBOARD.read_text(encoding="utf-8") == encoded(), (
        "stale: run PYTHONPATH=tests .venv/bin/python tests/operations/metrics/dashboard.py"
    )


@pytest.mark.parametrize(("title", "expression", "legend"), expressions())
def test_an_expression_parses_and_names_only_metrics_and_labels_that_exist(
    title: str, expression: str, legend: str
) -> None:
    assert "$" not in expression
    promql_parser.parse(expression)
    named = {name.removesuffix("_bucket") for name in metrics_in(expression)}
    assert named
    assert named <= LABELS.keys(), title
    allowed = set[str]().union(*(LABELS[name] for name in named))
    used = set(re.findall(r"\{\{(\w+)\}\}", legend))
    used |= {label for found in re.findall(r"by \(([^)]*)\)", expression) for label in found.split(", ")}
    assert used <= allowed, title


def test_a_metric_that_does_not_exist_is_noticed() -> None:
    assert metrics_in("sum by (le) (rate(realmkeep_gone_bucket[5m])) / realmkeep_ready") == {
        "realmkeep_gone_bucket",
        "realmkeep_ready",
    }
    assert "realmkeep_gone" not in LABELS


def test_no_two_panels_overlap_and_none_leaves_the_grid() -> None:
    places = [(panel["title"], panel["gridPos"]) for panel in BOARD["panels"]]
    for title, place in places:
        assert place["x"] + place["w"] <= 24, title
        assert place["w"] > 0, title
        assert place["h"] > 0, title
    for (one, a), (other, b) in combinations(places, 2):
        apart = (
            a["x"] + a["w"] <= b["x"]
            or b["x"] + b["w"] <= a["x"]
            or a["y"] + a["h"] <= b["y"]
            or b["y"] + b["h"] <= a["y"]
        )
        assert apart, (one, other)


def test_every_panel_says_what_it_shows_and_asks_the_chosen_source() -> None:
    for panel in PANELS:
        assert panel["description"].endswith("."), panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${source}"}
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_every_metric_of_the_promise_and_the_specification_has_a_panel() -> None:
    shown = {name.removesuffix("_bucket") for _, expression, _ in expressions() for name in metrics_in(expression)}
    for name in (
        "oldest_dirty_seconds",
        "store_memory_used_bytes",
        "store_aof_rewrites_total",
        "store_round_trip_seconds",
        "dirty_records",
        "flush_duration_seconds",
        "commits_total",
    ):
        assert PREFIX + name in shown
