"""The rules of the alerts: each fires for a bad server and stays silent for a good one, and has a section that helps."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import pytest
import yaml

from operations.metrics.expressions import metrics_in
from realmkeep.operations.metrics import ALERT_RULES
from realmkeep.operations.metrics.catalogue import METRICS, PREFIX
from suite.engines import needed

PAGE = Path(__file__).parents[3] / "docs" / "alerts.md"
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(ALERT_RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]
]
WARNING, CRITICAL = "warning", "critical"


class Case(NamedTuple):
    """What makes an alert fire.

    Attributes:
        bad: Series of a server for which it fires, by name and labels, each as promtool writes values.
        good: The same of a server for which it does not.
        at: When it fires at the latest.
        labels: Further labels of the alert.
        every_s: The seconds between two values, and between two looks at the rules.
    """

    alert: str
    severity: str
    bad: dict[str, str]
    good: dict[str, str]
    at: str = "10m"
    labels: str = ""
    every_s: int = 15


def histogram(name: str, under: str, slow: int) -> dict[str, str]:
    """A hundred observations every 15 s, of which `slow` are above the edge `under` and at most ten times as slow."""
    beyond = {"0.01": "0.025", "0.1": "0.25", "1.0": "2.5", "5.0": "10.0"}[under]
    return {
        f'{name}_bucket{{le="{under}"}}': f"0+{100 - slow}x80",
        f'{name}_bucket{{le="{beyond}"}}': "0+100x80",
        f'{name}_bucket{{le="+Inf"}}': "0+100x80",
    }


def one(name: str, bad: str, good: str) -> tuple[dict[str, str], dict[str, str]]:
    return {PREFIX + name: f"{bad}"}, {PREFIX + name: f"{good}"}


def beside(name: str, values: str, bad: dict[str, str], good: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The cases with one more series, the same for both."""
    return {**bad, PREFIX + name: values}, {**good, PREFIX + name: values}


MEMORY = "store_memory_max_bytes"
TRIP, FLUSH, LAG = (
    PREFIX + name for name in ("store_round_trip_seconds", "flush_duration_seconds", "loop_lag_seconds")
)
DIRTY = 'dirty_records{kind="player"}'
CASES = [
    Case(
        "RealmkeepPromiseBroken",
        CRITICAL,
        *beside("flush_interval_seconds", "30x40", *one("oldest_dirty_seconds", "36x40", "34x40")),
    ),
    Case(
        "RealmkeepDown",
        CRITICAL,
        {'up{job="realmkeep"}': "0x40"},
        {'up{job="realmkeep"}': "1x40", 'up{job="other"}': "0x40"},
        labels='job="realmkeep",',
    ),
    Case("RealmkeepNotReady", CRITICAL, *one("ready", "0x40", "1x40")),
    Case(
        "RealmkeepDegraded",
        WARNING,
        *one('degraded{reason="kept_letters"}', "1x40", "0x40"),
        labels='reason="kept_letters",',
    ),
    Case("RealmkeepFrozenRecords", WARNING, *one("frozen_records", "2x40", "0x40")),
    Case(
        "RealmkeepLeaseLow",
        CRITICAL,
        *beside("lease_ttl_seconds", "30x40", *one("lease_remaining_seconds", "9x40", "20x40")),
    ),
    Case("RealmkeepStoreAway", CRITICAL, *one("store_up", "0x40", "1x40")),
    Case(
        "RealmkeepStoreUnhealthy",
        CRITICAL,
        *one('store_healthy{what="aof_write"}', "0x40", "1x40"),
        labels='what="aof_write",',
    ),
    Case("RealmkeepStoreMemory", WARNING, *beside(MEMORY, "100x40", *one("store_memory_used_bytes", "75x40", "65x40"))),
    Case(
        "RealmkeepStoreMemory", CRITICAL, *beside(MEMORY, "100x40", *one("store_memory_used_bytes", "95x40", "85x40"))
    ),
    Case(
        "RealmkeepStoreRewrites", WARNING, *one("store_aof_rewrites_total", "0x10 1x100 2x180", "0x10 1x280"), at="60m"
    ),
    Case("RealmkeepStoreRewrites", CRITICAL, *one("store_aof_rewrites_total", "0x10 1x10 2x60", "0x10 1x80")),
    Case("RealmkeepStoreSlow", WARNING, histogram(TRIP, "0.01", 5), histogram(TRIP, "0.01", 0), at="15m"),
    Case("RealmkeepStoreSlow", CRITICAL, histogram(TRIP, "0.1", 5), histogram(TRIP, "0.1", 0)),
    Case("RealmkeepStoreLostData", CRITICAL, *one("records_torn_total", "0x10 3x60", "3x80")),
    Case(  # the clock of promtool begins in 1970
        "RealmkeepBackupOld",
        WARNING,
        *one("backup_last_verified_timestamp_seconds", "0x1000", "0x500 90000x500"),
        at="30h",
        every_s=120,
    ),
    Case(
        "RealmkeepDirtyRecords", WARNING, *beside("dirty_records_warning", "1000x40", *one(DIRTY, "1001x40", "999x40"))
    ),
    Case(
        "RealmkeepDirtyRecords",
        CRITICAL,
        *beside("dirty_records_critical", "5000x40", *one(DIRTY, "5001x40", "4999x40")),
    ),
    Case("RealmkeepFlushSlow", WARNING, histogram(FLUSH, "1.0", 5), histogram(FLUSH, "1.0", 0), at="15m"),
    Case("RealmkeepFlushSlow", CRITICAL, histogram(FLUSH, "5.0", 5), histogram(FLUSH, "5.0", 0)),
    Case("RealmkeepQueueFilling", WARNING, *beside("queue_depth_max", "100x40", *one("queue_depth", "51x40", "49x40"))),
    Case(
        "RealmkeepCommitsUnknown",
        WARNING,
        *one('commits_total{outcome="unknown"}', "0x10 1x60", "1x80"),
        labels='outcome="unknown",',
    ),
    Case(
        "RealmkeepQuarantine",
        WARNING,
        *one('loads_total{kind="player",outcome="quarantined"}', "0x10 1x60", "1x80"),
        labels='kind="player",',
    ),
    Case(
        "RealmkeepJournalBehind",
        WARNING,
        *beside("journal_backlog_max_bytes", "100x40", *one("journal_backlog_bytes", "51x40", "49x40")),
    ),
    Case("RealmkeepJournalGap", WARNING, *one("journal_missed_total", "0x10 5x60", "5x80")),
    Case("RealmkeepDoubledSerials", CRITICAL, *one("doubled_serials_total", "0x10 1x60", "1x80")),
    Case("RealmkeepEconomyMismatch", WARNING, *one("unbalanced_commits_total", "0x10 1x60", "1x80")),
    Case("RealmkeepGameFault", WARNING, *one("forgotten_marks_total", "0x10 1x60", "1x80")),
    Case("RealmkeepLoopLag", WARNING, histogram(LAG, "0.1", 5), histogram(LAG, "0.1", 0), at="15m"),
]


def of_instance(series: dict[str, str], instance: str) -> list[dict[str, str]]:
    named: list[dict[str, str]] = []
    for name, values in series.items():
        bare, _, labels = name.partition("{")
        labels = labels.removesuffix("}")
        inside = ",".join(filter(None, [labels, f'instance="{instance}"']))
        named.append({"series": f"{bare}{{{inside}}}", "values": values})
    return named


def promtool_tests(rules: Path, case: Case) -> dict[str, Any]:
    selector = f'ALERTS{{alertname="{case.alert}",severity="{case.severity}",alertstate="firing"}}'
    firing = (
        f'ALERTS{{alertname="{case.alert}",alertstate="firing",{case.labels}instance="bad",severity="{case.severity}"}}'
    )
    test = {
        "name": f"{case.alert} {case.severity}",
        "interval": f"{case.every_s}s",
        "input_series": of_instance(case.bad, "bad") + of_instance(case.good, "good"),
        "promql_expr_test": [
            {"expr": selector, "eval_time": case.at, "exp_samples": [{"labels": firing, "value": 1}]},
            *waiting(case, selector),
        ],
    }
    return {"rule_files": [str(rules)], "evaluation_interval": f"{case.every_s}s", "tests": [test]}


def waiting(case: Case, selector: str) -> list[dict[str, Any]]:
    """A rule with `for` is silent until then."""
    (rule,) = [rule for rule in RULES if (rule["alert"], rule["labels"]["severity"]) == case[:2]]
    return [{"expr": selector, "eval_time": "0s", "exp_samples": []}] if "for" in rule else []


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.alert}-{case.severity}")
def test_each_alert_fires_for_the_bad_server_alone(tmp_path: Path, case: Case) -> None:
    tests = tmp_path / "alerts.test.yml"
    tests.write_text(json.dumps(promtool_tests(ALERT_RULES, case)))  # JSON is YAML
    ended = subprocess.run(
        [needed("promtool"), "test", "rules", tests], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.needs("promtool")
def test_a_rule_that_does_not_fire_is_noticed(tmp_path: Path) -> None:
    """The control: with a threshold that is never reached, its case fails."""
    (case,) = [case for case in CASES if case.alert == "RealmkeepNotReady"]
    rules, tests = tmp_path / "rules.yml", tmp_path / "alerts.test.yml"
    rules.write_text(ALERT_RULES.read_text(encoding="utf-8").replace("realmkeep_ready == 0", "realmkeep_ready == -1"))
    tests.write_text(json.dumps(promtool_tests(rules, case)))
    ended = subprocess.run(
        [needed("promtool"), "test", "rules", tests], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 1
    assert "RealmkeepNotReady" in ended.stdout + ended.stderr


@pytest.mark.needs("promtool")
def test_promtool_accepts_the_rules() -> None:
    ended = subprocess.run(
        [needed("promtool"), "check", "rules", ALERT_RULES], capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{len(RULES)} rules found" in ended.stdout


def test_every_alert_and_severity_has_a_case() -> None:
    assert [(case.alert, case.severity) for case in CASES] == [
        (rule["alert"], rule["labels"]["severity"]) for rule in RULES
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_a_rule_parses_and_names_only_metrics_that_exist(rule: dict[str, Any]) -> None:
    promql_parser.parse(rule["expr"])
    known = {PREFIX + metric.name for metric in METRICS} | {
        f"{PREFIX}{m.name}_bucket" for m in METRICS if m.kind == "histogram"
    }
    assert metrics_in(rule["expr"]) - {"up"} <= known
    assert metrics_in(rule["expr"]), "no metric at all"


def sections() -> dict[str, str]:
    parts = re.split(r"^## (\w+)$", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_alert_has_a_section_that_says_what_it_means_and_what_to_do() -> None:
    assert sections().keys() == {rule["alert"] for rule in RULES}
    for name, text in sections().items():
        assert re.search(r"^\*\*It means:\*\* \S", text, re.MULTILINE), name
        assert re.search(r"^\*\*Do:\*\* \S", text, re.MULTILINE), name


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule['alert']}-{rule['labels']['severity']}")
def test_an_alert_links_to_its_section(rule: dict[str, Any]) -> None:
    assert rule["annotations"]["runbook"] == f"docs/alerts.md#{rule['alert'].lower()}"
    assert rule["annotations"]["summary"].startswith("{{ $labels.instance }}")
    assert rule["labels"]["severity"] in {WARNING, CRITICAL}


def test_the_thresholds_of_the_specification_stand_in_the_rules() -> None:
    """Memory, rewrites, write latency, dirty players, flush duration: the table of its chapter on monitoring."""
    found = {(rule["alert"], rule["labels"]["severity"]): rule["expr"].rpartition(" > ")[2] for rule in RULES}
    for alert, warning, critical in (
        ("RealmkeepStoreMemory", "0.7", "0.9"),
        ("RealmkeepStoreSlow", "0.01", "0.1"),
        ("RealmkeepFlushSlow", "1", "5"),
        (
            "RealmkeepDirtyRecords",
            "on (instance) realmkeep_dirty_records_warning",
            "on (instance) realmkeep_dirty_records_critical",
        ),
    ):
        assert (found[alert, WARNING], found[alert, CRITICAL]) == (warning, critical)
    windows = [re.findall(r"\[(\w+)\]", rule["expr"]) for rule in RULES if rule["alert"] == "RealmkeepStoreRewrites"]
    assert windows == [["1h"], ["10m"]]
