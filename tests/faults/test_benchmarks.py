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
    commit,
    counted_work,
    flush,
    instructions,
    metrics,
    records,
    sessions,
    slices,
    write_postgres,
)
from realmkeep.benchmarks.live_players import populate_store, started_server
from realmkeep.benchmarks.sessions import measured_pauses
from realmkeep.cli.app import app
from realmkeep.errors import ConfigError
from realmkeep.testing.clock import FakeClock
from realmkeep.testing.postgres_server import PostgresServer


def test_flush_measures_both_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flush, "ROUNDS", 1)
    monkeypatch.setattr(flush, "IDLE_S", 0.1)
    monkeypatch.setattr(slices, "TICK_S", 0.001)  # so that a small crowd sees a tick
    report = flush.bench_flush(players=300, directory=tmp_path)
    for figures in (report.always, report.everysec):
        plain = msgspec.to_builtins(figures)
        assert all(value > 0 for value in plain.values())
        assert figures.slice_ms_p999 <= figures.slice_ms_max
    assert list(tmp_path.iterdir()) == []


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


def test_commit_measures_each_concurrency(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(commit, "CONCURRENCIES", (1, 4))
    monkeypatch.setattr(commit, "ROUNDS", 1)
    report = commit.bench_commit(seconds=0.1, directory=tmp_path)
    assert [figures.concurrency for figures in report.trades] == [1, 4]
    for figures in report.trades:
        assert figures.trades_per_s > 0
        assert 0 < figures.latency_ms_p50 <= figures.latency_ms_p99
    assert min(report.sqlite_per_s, report.multi_per_s, report.fdatasync_per_s, report.round_trip_ms_p50) > 0

    def measured(**_how: object) -> commit.CommitReport:
        return report

    monkeypatch.setattr(commit, "bench_commit", measured)
    app(["bench", "commit"], result_action="return_value")
    rows = [row.rsplit(maxsplit=1) for row in capsys.readouterr().out.splitlines()]
    assert [figure for name, figure in rows if name.endswith(".concurrency")] == ["1", "4"]


def test_sessions_measures_what_a_session_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "COUNTED", 400)
    figures = sessions.bench_sessions(sessions=60, directory=tmp_path)
    assert 0 < figures.session_bytes < 2048, "memory is no matter of time: the promise of the design"
    assert figures.record_bytes > 0
    assert figures.full_ring_bytes > 0
    assert min(figures.logins_per_s, figures.recovered_per_s, figures.gc_pause_ms_max) > 0


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


def test_metrics_measures_counting_and_the_scrape(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "COUNTED", 10)
    monkeypatch.setattr(metrics, "SCRAPES", 2)
    app(["bench", "metrics", "--players", "100", "--json"], result_action="return_value")
    told = json.loads(capsys.readouterr().out)
    assert told["sessions"] == 100
    assert told["scrape_bytes"] > 5_000


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
    short, long = (instructions.count_store(tmp_path, trades_each) for trades_each in (1, 5))
    trades = 4 * (5 - 1)
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
