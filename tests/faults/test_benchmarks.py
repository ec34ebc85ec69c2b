"""Every benchmark runs from end to end, on real stores; how fast is not asked here."""

import asyncio
import gc
import json
import os
from pathlib import Path

import msgspec
import pytest

from realmkeep.benchmarks import (
    accounts,
    cold_outage,
    cold_tier,
    counted_work,
    instructions,
    metrics,
    records,
    sessions,
    shapes,
    slices,
    write_postgres,
)
from realmkeep.benchmarks.comparison import flush
from realmkeep.benchmarks.comparison.before import measure_before, part_of_before
from realmkeep.benchmarks.comparison.page import BEGIN, read_results, written
from realmkeep.benchmarks.comparison.replay import Replay
from realmkeep.benchmarks.live_players import (
    keys_of_player,
    log_in,
    opened_keeper,
    populate_store,
    started_server,
)
from realmkeep.benchmarks.sessions import measured_pauses
from realmkeep.benchmarks.trading import TradingPairs
from realmkeep.cli.app import app
from realmkeep.clock import SystemClock
from realmkeep.config import KeeperConfig
from realmkeep.errors import ConfigError
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.postgres_server import PostgresServer
from realmkeep.testing.servers import StoreServer

PARTS_OF_COLD_TIER = (
    "idle",
    "sweep of all",
    "sweep, nothing changed",
    "freeze",
    "sweep and freeze, all frozen",
    "verify",
    "reconcile an empty store",
    "questions to the board",
)


def test_a_quick_sitting_measures_every_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush, "IDLE_S", 0.1)
    page, results = tmp_path / "page.md", tmp_path / "results.json"
    page.write_text(BEGIN, encoding="utf-8")
    inside = tmp_path / "stores"
    inside.mkdir()
    where = ["--directory", str(inside), "--results", str(results), "--page", str(page)]
    app(["bench", "compare", "--quick", *where], result_action="return_value")
    sitting = read_results(results)
    assert sitting.is_quick
    assert [part.key for part in sitting.parts] == [
        *("trades", "flush-always", "flush-everysec", "logins-always", "logins-everysec", "stored", "starts")
    ]
    for part in sitting.parts:
        assert all(min(figure.rounds) > 0 for figure in part.figures), part.key
        assert all(figure.at_once and figure.pipelining and figure.fsync for figure in part.figures), part.key
    ways = {figure.key for figure in sitting.parts[0].figures}
    assert {"realmkeep-64", "recipe-64", "multi-64", "sqlite-each", "sqlite-64"} <= ways
    has_postgres = not any(reason.startswith("Postgres") for reason in sitting.not_run)
    assert ({"postgres-1", "postgres-64"} <= ways) is has_postgres
    assert {figure.key for figure in sitting.parts[0].figures if figure.is_limit} == {
        *("mset", "round-trip", "fdatasync", "replay")
    }
    assert len([aim for aim in sitting.aims if aim.value is None]) == 8, "counts, the commit before, 1,024, a million"
    assert len(sitting.not_run) >= 2
    assert page.read_text(encoding="utf-8").endswith(written(sitting, "page.svg"))
    assert list(inside.iterdir()) == []


@pytest.mark.backend("postgresql")
def test_write_measures_a_postgres_and_leaves_nothing(
    postgres: PostgresServer, postgres_url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(write_postgres, "ROUNDS", 1)
    app(["bench", "write", "--store", postgres_url, "--records", "300", "--json"], result_action="return_value")
    report = msgspec.json.decode(capsys.readouterr().out, type=write_postgres.PostgresWriteReport)
    assert min(report.write_per_s, report.one_by_one_per_s, report.limit_per_s) > 0
    assert report.share_of_fast_chunks == 1.0
    assert report.slice_ms_p999 <= report.slice_ms_max
    schema = postgres_url.rpartition("%3D")[2]
    assert postgres.ask("SELECT count(*) FROM realmkeep_entry WHERE value IS NOT NULL AND key > ''", schema=schema) == [
        (0,)
    ]


def test_write_refuses_another_store_than_a_postgres(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    with pytest.raises(ConfigError, match="measures a Postgres"):
        asyncio.run(write_postgres.bench_write_postgres(url, records=1, size=1))


def test_a_replay_does_the_work_again_and_leaves_the_players_as_they_are(tmp_path: Path) -> None:
    of_players = [keys_of_player(number) for number in range(2)]
    keys = [key for each in of_players for key in (each.record, each.updated, each.ops)]

    async def trade_and_replay(server: StoreServer) -> None:
        await populate_store(server.url, range(2))
        async with opened_keeper(server.url, KeeperConfig(name="bench")) as (keeper, _):
            market = TradingPairs(keeper, await log_in(keeper, range(2)))
            replay = Replay(server, keys)
            await replay.record(lambda: market.trade_times(1, 3))
            await market.trade_times(1, 2)
            now = await asyncio.to_thread(server.ask, "MGET", *keys)
            assert (await replay.send_again(3, SystemClock())).value > 0
            assert await asyncio.to_thread(server.ask, "MGET", *keys) == now
            await market.trade_times(1, 2)  # no guard of the keeper fails
            await asyncio.to_thread(server.ask, "SET", of_players[0].owner, "another server")
            with pytest.raises(AssertionError, match="the store answered"):
                await replay.send_again(3, SystemClock())

    with started_server(tmp_path, "always") as server:
        asyncio.run(trade_and_replay(server))


def test_an_earlier_commit_is_measured_by_its_own_benchmark(tmp_path: Path) -> None:
    package = tmp_path / "src" / "realmkeep"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "cli.py").write_text(
        "import sys\n"
        "def main():\n"
        "    if sys.argv[2] == 'flush':\n"
        '        print(\'{"always":{"players_per_s":5},"everysec":{"players_per_s":7.5}}\')\n'
        "    else:\n"
        '        print(\'{"trades":[{"concurrency":64,"trades_per_s":14001.2}]}\')\n',
        encoding="utf-8",
    )
    measured = measure_before(tmp_path / "src", players=1, seconds=0.1, directory=tmp_path)
    assert measured == {"trades-64": 14001.2, "flush-always": 5.0, "flush-everysec": 7.5}
    part = part_of_before([measured, measured | {"trades-64": 15000.0}])
    assert part.figure("trades-64").rounds == (14001.2, 15000.0)
    assert part.figure("flush-everysec").fsync == "everysec"


def test_sessions_measures_what_a_session_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "COUNTED", 400)
    figures = sessions.bench_sessions(sessions=60, directory=tmp_path)
    assert 0 < figures.session_bytes < 2048, "memory is no matter of time: the promise of the design"
    assert figures.record_bytes > 0
    assert figures.full_ring_bytes > 0
    assert figures.gc_pause_ms_max > 0


def test_accounts_measures_every_store_and_every_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accounts, "PASSWORD_LOGINS", 2)
    monkeypatch.setattr(accounts, "TICKET_LOGINS", 20)
    monkeypatch.setattr(accounts, "REFUSALS", 1)
    monkeypatch.setattr(accounts, "HASHES", 1)
    monkeypatch.setattr(accounts, "IDLE_S", 0.1)  # two ticks
    report = accounts.bench_accounts(directory=tmp_path)
    assert set(report.stores) == {"memory", "sqlite", "embedded"}
    for figures in report.stores.values():
        assert min(figures.password_logins_per_s, figures.ticket_logins_per_s) > 0
        assert figures.tick_late_ms_p50 <= figures.tick_late_ms_max
    assert set(report.hash_ms) == {"argon2id", "pbkdf2-sha256-600000", "version-2"}
    assert len(report.refusal_ms_p50) == 5
    assert min(report.refusal_ms_p50.values()) >= accounts.ANSWER_TIME_S * slices.MS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.backend("redis-cluster")
def test_shapes_measures_every_kind_of_store(tmp_path: Path) -> None:
    report = shapes.bench_shapes(seconds=0.1, directory=tmp_path)
    assert report.shapes.keys() == {*shapes.SHAPES}
    for figures in report.shapes.values():
        assert figures.trades_per_s > 0
        assert 0 < figures.trade_ms_p50 <= figures.trade_ms_p99
    assert list(tmp_path.iterdir()) == []


def test_metrics_measures_counting_and_the_scrape(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "COUNTED", 10)
    monkeypatch.setattr(metrics, "SCRAPES", 2)
    app(["bench", "metrics", "--players", "100", "--json"], result_action="return_value")
    told = json.loads(capsys.readouterr().out)
    assert told["sessions"] == 100
    assert told["scrape_bytes"] > 5_000


def test_console_measures_ticks_and_pages(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    few = ["--live", "5", "--stored", "60", "--operators", "2", "--seconds", "0.4", "--rounds", "1"]
    app(["bench", "console", *few, "--directory", str(tmp_path), "--json"], result_action="return_value")
    told = json.loads(capsys.readouterr().out)
    assert told["pages"]["overview"]["asked"] >= 2
    assert told["tick_late_ms_p99_with"] > 0
    assert list(tmp_path.iterdir()) == []


def test_cold_tier_measures_every_part(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, few in (("IDLE_S", 0.1), ("PAIRS", 3), ("QUESTIONS", 2)):
        monkeypatch.setattr(cold_tier, name, few)
    app(
        ["bench", "cold-tier", "--players", "120", "--directory", str(tmp_path), "--json"], result_action="return_value"
    )
    report = msgspec.json.decode(capsys.readouterr().out, type=cold_tier.ColdTierReport)
    assert [*report.phases] == [*PARTS_OF_COLD_TIER]
    assert all(each.seconds > 0 and each.memory_mib_peak > 0 for each in report.phases.values())
    assert report.stub_bytes <= 51
    assert report.stub_bytes_with_key <= 110, "the promise of the design"
    assert report.hot["frozen"].bytes_a_player < report.hot["filled"].bytes_a_player
    assert min(each.ms_p50 for each in (*report.logins.values(), *report.boards.values())) > 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.backend("postgresql")
def test_cold_outage_measures_a_realm_before_during_and_after(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cold_outage, "SETTLE_S", 0.5)
    monkeypatch.setattr(cold_outage, "MARGIN_S", 1.0)
    monkeypatch.setattr(cold_outage, "NEWCOMER_S", 0.2)
    short = ["--fault", "kill", "--bots", "3", "--seconds", "1", "--beside", "1", "--directory", str(tmp_path)]
    app(["bench", "cold-outage", *short, "--json"], result_action="return_value")
    report = msgspec.json.decode(capsys.readouterr().out, type=cold_outage.OutageReport)
    assert report.problems == ()
    assert (report.tiers.equal, report.tiers.faults_count, report.tiers.only_cold) == (report.tiers.records, 0, 0)
    for phase in (report.before, report.during, report.after):
        assert phase.memory_mib_max > 0
        assert phase.tick_late_ms_p99 > 0
    assert list(tmp_path.iterdir()) == []


def test_records_measures_every_contender(capsys: pytest.CaptureFixture[str]) -> None:
    app(["bench", "records", "--seconds", "0.001", "--json"], result_action="return_value")
    report = msgspec.json.decode(capsys.readouterr().out, type=records.RecordsReport)
    assert set(report.nanoseconds) == {
        *("encode", "decode", "load", "fork", "restore", "fork and restore"),
        *("assign", "take marks and assign", "read", records.MARKED_ALREADY),
    }
    assert {"msgspec", "realmkeep", "json", "pickle"} <= set(report.nanoseconds["encode"])
    assert report.player_bytes > 0
    assert report.encode_to_msgspec_ratio > 0


@pytest.mark.needs("valgrind")
def test_instructions_of_the_store_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted_work, "PAIRS", 4)
    short, long = (instructions.count_store(tmp_path, trades_each) for trades_each in (1, 51))
    trades = 4 * (51 - 1)
    assert 50_000 < (long.instructions - short.instructions) / trades < 500_000, (
        "the store's own, and of the trades alone"
    )
    assert 1_000 < (long.received_bytes - short.received_bytes) / trades < 20_000
    assert short.version.startswith(("valkey 9", "redis "))


def test_the_counted_work_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counted_work, "PAIRS", 2)
    marks: list[int] = []
    monkeypatch.setattr(os, "getsid", marks.append)
    with started_server(tmp_path, "everysec") as server:
        asyncio.run(populate_store(server.url, range(6)))
        asyncio.run(counted_work.do_counted_work(server.url, (1, 2), (6, 3, 6)))
    assert len(marks) == 5


def test_a_pause_is_what_a_collection_takes() -> None:
    with measured_pauses(FakeClock()) as pauses:
        gc.collect()
        gc.collect()
    gc.collect()
    assert pauses == [0.0, 0.0]
