"""The scrape: valid for Prometheus, with the names of the catalogue, and never a player in a label."""

import re
import subprocess
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from keeping.game import NotEnough, Player, earn, enter, opens_letters, pay
from operations.metrics.scraping import asked_of
from realmkeep.config import JournalConfig
from realmkeep.keeping import Histogram, Hooks
from realmkeep.operations.backup.catalogue import BackupAges
from realmkeep.operations.metrics import ObservedServer, ServerCollector
from realmkeep.operations.metrics.app import observed_app
from realmkeep.operations.metrics.catalogue import METRICS, PREFIX
from realmkeep.storage.cold import MemoryColdStore
from realmkeep.storage.vitals import StoreVitals
from realmkeep.testing.lab import Lab
from suite.engines import needed

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def openmetrics_families(text: str) -> list[Metric]:
    return [*cast("Any", openmetrics).text_string_to_metric_families(text)]  # the parser has no types


async def played(lab: Lab) -> ObservedServer:
    """A server on which everything that has a metric has happened."""
    tick_lateness_s = Histogram()
    tick_lateness_s.add(0.003)
    server = ObservedServer(
        lab.keeper, logins={("password", "ok"): 3, ("ticket", "bad_credentials"): 1}, tick_lateness_s=tick_lateness_s
    )
    ada, bob = await enter(lab.keeper, 1), await enter(lab.keeper, 424242)
    await lab.keeper.commit(pay, ada, bob)
    with pytest.raises(NotEnough):
        await lab.keeper.commit(lambda a, b: pay(a, b, 10_000), ada, bob)
    await lab.keeper.commit(lambda _: lab.keeper.tx.deliver(Player, 424242, {"gold": 5}), ada)
    ada.record.xp += 1
    await lab.advance(35)
    await bob.logout()
    server.backup_ages = BackupAges(1_767_225_600_000_000, None)
    server.vitals = StoreVitals(1_000, 4_000, 2, {"aof_write": True, "snapshot": False})
    from keeping.game import inside  # noqa: PLC0415 - beside its use

    inside(lab.keeper).measures.migrations["rover", 1] += 1
    ada.record.xp += 1
    return server


def scraped(server: ObservedServer) -> str:
    registry = CollectorRegistry()
    registry.register(ServerCollector(server))
    return generate_latest(registry).decode()


@pytest.fixture
async def text() -> str:
    async with Lab(hooks=opens_letters(Hooks()), journal=JournalConfig(), cold=MemoryColdStore()) as lab:
        return scraped(await played(lab))


async def test_the_scrape_has_every_metric_of_the_catalogue_and_no_other(text: str) -> None:
    found = {family.name: family for family in text_string_to_metric_families(text)}
    wanted = {PREFIX + metric.name.removesuffix("_total"): metric for metric in METRICS}
    assert found.keys() == wanted.keys()
    for name, metric in wanted.items():
        assert found[name].type == metric.kind, name
        labels = {key for sample in found[name].samples for key in sample.labels} - {"le"}
        assert labels == set(metric.labels), name
        assert found[name].documentation == metric.meaning


async def test_the_values_are_those_of_the_keeper(text: str) -> None:
    values = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["realmkeep_commits_total", ("outcome", "refused_by_game")] == 1
    assert values["realmkeep_letters_total", ("what", "opened")] == 1
    assert values["realmkeep_writes_total", ("outcome", "committed"), ("tier", "batched")] == 1
    assert values["realmkeep_writes_total", ("outcome", "committed"), ("tier", "final")] == 1
    assert values["realmkeep_dirty_records", ("kind", "rover")] == 1
    assert values["realmkeep_sessions", ("kind", "rover"), ("state", "connected")] == 1
    assert values["realmkeep_sessions", ("kind", "rover"), ("state", "leaving")] == 0
    assert values["realmkeep_store_healthy", ("what", "snapshot")] == 0
    assert values["realmkeep_backup_last_success_timestamp_seconds",] == 1_767_225_600
    assert values["realmkeep_backup_last_verified_timestamp_seconds",] == 0
    assert values["realmkeep_tick_lateness_seconds_bucket", ("le", "0.0025")] == 0
    assert values["realmkeep_tick_lateness_seconds_bucket", ("le", "0.005")] == 1
    assert values["realmkeep_tick_lateness_seconds_count",] == 1


async def test_no_label_names_a_player(text: str) -> None:
    assert "424242" not in re.sub(r"^# .*$|[0-9.e+-]+$", "", text, flags=re.MULTILINE)


async def test_a_store_that_tells_nothing_leaves_its_metrics_out(lab: Lab) -> None:
    text = scraped(ObservedServer(lab.keeper))
    assert "realmkeep_store_memory" not in text
    assert "realmkeep_tick_lateness" not in text
    assert "realmkeep_backup" not in text


async def test_openmetrics_is_served_to_a_scraper_that_asks_for_it(lab: Lab) -> None:
    server = ObservedServer(lab.keeper)
    answer = await asked_of(observed_app(server), "/metrics", accept=OPENMETRICS)
    assert answer.content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert openmetrics_families(answer.text)
    assert (await asked_of(observed_app(server), "/metrics")).content_type.startswith("text/plain; version=0.0.4")


async def test_openmetrics_has_no_two_families_of_one_name() -> None:
    async with Lab(hooks=opens_letters(Hooks()), journal=JournalConfig(), cold=MemoryColdStore()) as lab:
        registry = CollectorRegistry()
        registry.register(ServerCollector(await played(lab)))
        encode, _ = choose_encoder(OPENMETRICS)
        names = [family.name for family in openmetrics_families(encode(registry).decode())]
        assert len(names) == len(METRICS) == len(set(names))


@pytest.mark.needs("promtool")
async def test_promtool_finds_nothing_to_say(text: str) -> None:
    checked = subprocess.run(
        [needed("promtool"), "check", "metrics"], input=text, capture_output=True, text=True, check=False, timeout=60
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


async def test_a_game_registers_the_collector_beside_its_own_metrics(lab: Lab) -> None:
    from prometheus_client import Counter  # noqa: PLC0415 - a game's own

    registry = CollectorRegistry()
    registry.register(ServerCollector(ObservedServer(lab.keeper)))
    Counter("game_monsters", "Monsters slain.", registry=registry).inc()
    await lab.keeper.commit(earn, await enter(lab.keeper))
    text = generate_latest(registry).decode()
    assert "game_monsters_total 1.0" in text
    assert 'realmkeep_commits_total{outcome="committed"} 1.0' in text
