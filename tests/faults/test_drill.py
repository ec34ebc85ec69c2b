"""The short drill: every fault once on the embedded store, with its controls, and the faults of processes on the other stores.

`realmkeep drill` is run as an operator runs it, in a process of its own.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from realmkeep.drill.controls import CONTROLS
from realmkeep.drill.faults import FAULTS
from realmkeep.drill.faults.fault import Harm
from realmkeep.drill.report import StoreReport, read_results
from realmkeep.drill.stores.store import Trait
from realmkeep.testing.replicated import free_ports
from realmkeep.testing.servers import StoreServer
from suite.engines import is_there

pytestmark = pytest.mark.limit(300)

NEED_GCC = {name for name, each in {**FAULTS, **CONTROLS}.items() if Trait.SHIM in each.needs}
NEED_SERVERS = {"control-no-fence"}
NEED_REPLICAS = {name for name, each in FAULTS.items() if {Trait.REPLICAS, Trait.SLOTS} & each.needs}
NEED_ARCHIVE = {name for name, each in FAULTS.items() if Trait.ARCHIVE in each.needs}
OF_HARM = {harm: [name for name, fault in FAULTS.items() if fault.harm is harm] for harm in Harm}
GROUPS = {
    "servers": OF_HARM[Harm.SERVER],
    "store": [*(name for name in OF_HARM[Harm.STORE] if name not in NEED_REPLICAS), "control-early-answer"],
    "network": [
        *OF_HARM[Harm.NETWORK],
        *OF_HARM[Harm.CLIENTS],
        "server-clock",
        "control-no-op-ring",
        "control-no-flush",
    ],
    "disk": [*OF_HARM[Harm.DISK], "store-clock", "control-lying-fsync", "control-older-files"],
}
KILLS = ["server-kill", "servers-kill", "server-pause", "store-kill", "store-and-server-kill", "store-pause"]


def drilled(directory: Path, store: str, faults: list[str], *options: str) -> tuple[int, StoreReport, str]:
    """The exit code of a drill, its report, and what it printed."""
    command = [
        sys.executable,
        "-m",
        "realmkeep.cli",
        "drill",
        "--store",
        store,
        "--json",
        str(directory / "results.json"),
    ]
    ended = subprocess.run(
        [*command, "--faults", ",".join(faults), *options], cwd=directory, capture_output=True, text=True, check=False
    )
    printed = ended.stdout + ended.stderr
    assert (directory / "results.json").exists(), printed
    (report,) = read_results((directory / "results.json").read_bytes()).stores
    return ended.returncode, report, printed


def check(directory: Path, store: str, faults: list[str], *options: str) -> None:
    """Every fault was seen to fire, every control was caught, and nothing was lost or doubled."""
    wanted = {name for name in faults if name not in NEED_GCC or is_there("gcc")}
    code, report, printed = drilled(directory, store, faults, *options)
    assert report.violations == [], printed
    assert {name for name, verdict in report.faults.items() if verdict.fired} == wanted - CONTROLS.keys(), printed
    assert report.controls == dict.fromkeys(wanted & CONTROLS.keys(), (1, 1)), printed
    assert all(verdict.acknowledged for verdict in report.faults.values())
    assert code == 0, printed


@pytest.mark.backend("embedded")
@pytest.mark.parametrize("group", GROUPS)
def test_every_fault_on_the_embedded_store_and_every_control(tmp_path: Path, group: str) -> None:
    check(tmp_path, "embedded", GROUPS[group])


def test_the_short_drill_has_every_fault_and_every_control() -> None:
    assert {name for group in GROUPS.values() for name in group} == {
        *FAULTS,
        *CONTROLS,
    } - NEED_SERVERS - NEED_REPLICAS - NEED_ARCHIVE


@pytest.mark.backend("valkey")
def test_two_servers_with_a_cold_tier(tmp_path: Path) -> None:
    check(tmp_path, "redis-always", [*NEED_ARCHIVE, "server-kill"], "--archive")


@pytest.mark.backend("valkey")
def test_two_servers_on_a_store_that_syncs_before_it_answers(tmp_path: Path) -> None:
    check(tmp_path, "redis-always", [*KILLS, "control-no-fence"])


@pytest.mark.backend("valkey")
def test_two_servers_on_a_store_that_syncs_once_a_second(tmp_path: Path) -> None:
    check(tmp_path, "redis-everysec", ["servers-kill", "store-kill", "power-cut"])


@pytest.mark.backend("redis-cluster")
def test_two_servers_on_a_realm_of_a_cluster(tmp_path: Path) -> None:
    check(tmp_path, "redis-cluster", ["replica-lag", "slot-move"])


@pytest.mark.backend("sqlite")
def test_a_server_on_a_file(tmp_path: Path) -> None:
    check(
        tmp_path,
        "sqlite",
        ["server-kill", "servers-kill", "server-kill-at-point", "fsync-fail", "disk-full", "power-cut"],
    )


@pytest.mark.backend("postgresql")
def test_two_servers_on_a_postgres(tmp_path: Path) -> None:
    check(tmp_path, "postgresql", [*KILLS, "power-cut"])


@pytest.mark.backend("sqlite")
def test_a_fault_that_cannot_happen_is_named_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    code, report, printed = drilled(tmp_path, "sqlite", ["store-kill"])
    assert (code, report.faults) == (0, {})
    assert report.not_run == {"store-kill": "the store has no process that the drill could hurt"}
    assert "not proved: store-kill: the store has no process" in printed
    command = [sys.executable, "-m", "realmkeep.cli", "drill", "--faults", "a-flood"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 78
    assert "there is no fault 'a-flood'" in ended.stderr


@pytest.mark.backend("valkey")
def test_a_store_at_a_url_has_its_connections_broken_and_its_records_taken_away_again(
    tmp_path: Path, new_server: Callable[..., StoreServer]
) -> None:
    """Each control needs an empty store, so a realm that is left behind would end the drill."""
    port, directory = free_ports(1), tmp_path / "store"
    directory.mkdir()
    store = new_server(directory, extra=f"\nbind 127.0.0.1\nport {port}\n")
    faults = ["network-cut", "network-slow", "network-reset", "network-drips"]
    url = f"redis://127.0.0.1:{port}/0?prefix=north"
    code, report, printed = drilled(tmp_path, url, [*faults, "control-no-op-ring"], "--seed", "2")
    assert (code, report.violations, report.controls) == (0, [], {"control-no-op-ring": (1, 1)}), printed
    assert {name for name, verdict in report.faults.items() if verdict.fired} == {*faults}, printed
    assert any("the store" in verdict.evidence for verdict in report.faults.values()), (
        printed
    )  # the seed chooses the side
    assert store.ask("KEYS", "north:sim-*") == []
