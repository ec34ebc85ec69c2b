"""Every file of a deployment is read by a real parser of its kind, and each checker has a control that it refuses."""

import asyncio
import configparser
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kubernetes_validate  # pyright: ignore[reportMissingTypeStubs] - it has none
import pytest
import yaml
from compose_spec import PyCompose
from cronsim import CronSim, CronSimError

from operations.doctor.fake_machine import FakeMachine
from realmkeep.config import load_config
from realmkeep.operations.deploy import Deployment, deployment_files
from realmkeep.operations.deploy.files import CONTAINER_UID, SOCKET, STATE, STORE, filled
from realmkeep.operations.doctor import examine
from realmkeep.operations.metrics import ALERT_RULES, DASHBOARD
from realmkeep.storage.embedded_config import find_binary
from realmkeep.testing.servers import StoreServer
from suite.engines import needed

TEXTS = deployment_files(Deployment())
KUBERNETES = "1.32"
UNITS = sorted(path for path in TEXTS if path.startswith("systemd/"))
TIMEOUT_S = 60.0
EXPOSURE_MAX = "30"  # of 100, tenths of systemd-analyze's scale: 3.0 is "OK", an unhardened unit has 9.6


def unit(path: str) -> configparser.ConfigParser:
    """A unit file; of a setting that stands twice, the last value."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, delimiters=("=",))
    parser.optionxform = str  # pyright: ignore[reportAttributeAccessIssue] - names have capitals
    parser.read_string(TEXTS[path])
    return parser


def documents(path: str) -> list[dict[str, Any]]:
    return [*yaml.safe_load_all(TEXTS[path])]


def test_no_token_is_left_and_none_without_a_value_passes() -> None:
    for path, text in TEXTS.items():
        assert re.findall(r"@[A-Z_]+@", text) == [], path
    with pytest.raises(KeyError):
        filled("@NOBODY@", {})


# --- the store


async def test_doctor_finds_nothing_in_a_store_with_this_configuration(
    tmp_path: Path, new_server: Callable[..., StoreServer]
) -> None:
    def started() -> StoreServer:
        (tmp_path / "store").mkdir()
        script = tmp_path / "valkey-as-deployed"  # the places of the file are not there on a machine of tests
        here = TEXTS["valkey.conf"].replace(f'dir "{STORE}"', f'dir "{tmp_path}/store"')
        (tmp_path / "valkey.conf").write_text(here, encoding="utf-8")
        script.write_text(
            "#!/bin/sh\n"
            'socket=$(sed -n \'s/^unixsocket "\\(.*\\)"$/\\1/p\' "$1")\n'
            f"exec '{find_binary()}' '{tmp_path}/valkey.conf' --unixsocket \"$socket\"\n",
            encoding="utf-8",
        )
        script.chmod(0o700)
        return new_server(tmp_path / "store", binary=script)

    server = await asyncio.to_thread(started)
    assert server.process is not None
    fake = await asyncio.to_thread(FakeMachine, tmp_path / "root", server.process.pid)
    report = await examine(server.url, machine=fake.machine, accept=("fsync-too-fast",))  # a test's disk may be memory
    assert (report.outcome, report.findings, report.unexamined) == ("examined", (), ())
    answer = await asyncio.to_thread(server.ask, "CONFIG", "GET", "maxmemory")
    assert answer == [b"maxmemory", b"4294967296"]


def test_the_settings_are_settings(tmp_path: Path) -> None:
    path = tmp_path / "realmkeep.toml"
    path.write_text(TEXTS["realmkeep.toml"], encoding="utf-8")
    config = load_config(path=path, environ={})
    assert config.store.url == f"redis+unix://{SOCKET}"
    assert config.auth.key_file == f"{STATE}/data/server-keys.json"
    assert (config.backup.directory, config.backup.interval_s) == (f"{STATE}/backups", 0)  # the timer makes them
    assert config.journal.url == f"file:///{STATE}/journal"
    assert config.operations.listen == "127.0.0.1:9464"


# --- systemd


def verified(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [needed("systemd-analyze"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)


def units_for_this_machine(directory: Path, change: Callable[[str], str] = str) -> list[Path]:
    """The units with programs that are here, because systemd looks whether they are."""
    (directory / "bin").mkdir()
    (directory / "bin/realmkeep").symlink_to(sys.executable)
    here = Deployment(venv=str(directory), valkey=str(find_binary()), user="root")
    texts = deployment_files(here)
    for path in UNITS:
        (directory / Path(path).name).write_text(change(texts[path]), encoding="utf-8")
    return [directory / Path(path).name for path in UNITS]


@pytest.mark.needs("systemd-analyze")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    said = verified("verify", "--man=no", *units_for_this_machine(tmp_path))
    assert (said.returncode, [line for line in said.stderr.splitlines() if "realmkeep" in line]) == (0, [])


@pytest.mark.needs("systemd-analyze")
def test_systemd_refuses_a_unit_with_a_mistake(tmp_path: Path) -> None:
    units = units_for_this_machine(tmp_path, lambda text: text.replace("LimitNOFILE=", "LimitNOFILES="))
    assert "LimitNOFILES" in verified("verify", "--man=no", *units).stderr


@pytest.mark.needs("systemd-analyze")
@pytest.mark.parametrize("name", ["realmkeep-store.service", "realmkeep.service", "realmkeep-backup.service"])
def test_the_services_are_hardened(tmp_path: Path, name: str) -> None:
    units_for_this_machine(tmp_path, lambda text: text.replace("User=root", "User=realmkeep"))
    judged = verified("security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", tmp_path / name)
    assert judged.returncode == 0, judged.stdout[-600:]
    units = (tmp_path / name).read_text(encoding="utf-8")
    (tmp_path / name).write_text(re.sub(r"(?m)^(Protect|Restrict|System|Capab)\w+=.*\n", "", units), encoding="utf-8")
    assert verified("security", "--offline=yes", f"--threshold={EXPOSURE_MAX}", tmp_path / name).returncode == 1


def test_the_units_fit_each_other() -> None:
    store, server, backup, timer = (
        unit(f"systemd/realmkeep{name}") for name in ("-store.service", ".service", "-backup.service", "-backup.timer")
    )
    assert "realmkeep-store.service" in server["Unit"]["After"].split()
    assert "realmkeep-store.service" in server["Unit"]["Wants"].split()
    for service in (store, server, backup):
        assert (service["Service"]["User"], service["Service"]["UMask"]) == ("realmkeep", "0077")
        assert service["Service"]["ProtectSystem"] == "strict"
    assert store["Service"]["ExecStart"] == "/usr/bin/valkey-server /etc/realmkeep/valkey.conf"
    assert f"/run/{store['Service']['RuntimeDirectory']}/store.sock" == SOCKET
    assert f'dir "/var/lib/{store["Service"]["StateDirectory"].split()[1]}"' in TEXTS["valkey.conf"]
    assert server["Service"]["ExecStart"].startswith("/opt/realmkeep/bin/realmkeep serve ")
    assert backup["Service"]["ExecStart"] == "/opt/realmkeep/bin/realmkeep backup create --prune"
    assert timer["Timer"]["OnCalendar"] == "hourly"


def test_a_server_has_the_time_that_its_shutdown_may_take() -> None:
    shutdown_s = load_config(environ={}).keeper.shutdown_deadline_s
    stop_s = float(unit("systemd/realmkeep.service")["Service"]["TimeoutStopSec"].removesuffix("s"))
    assert stop_s >= 2 * shutdown_s
    (pod,) = (
        d["spec"]["template"]["spec"] for d in documents("kubernetes/realmkeep.yaml") if d["kind"] == "StatefulSet"
    )
    assert pod["terminationGracePeriodSeconds"] >= 2 * stop_s


# --- cron


def jobs(text: str) -> Iterator[tuple[str, str, str]]:
    """The jobs of a file in /etc/cron.d: time, user, command."""
    for line in text.splitlines():
        if line and not line.startswith("#") and "=" not in line.split()[0]:
            *fields, user, command = line.split(maxsplit=6)
            yield " ".join(fields), user, command


def test_cron_makes_a_backup_every_hour() -> None:
    ((when, user, command),) = jobs(TEXTS["cron/realmkeep"])
    runs = CronSim(when, datetime(2026, 11, 30, tzinfo=UTC))
    first, second = next(runs), next(runs)
    assert (second - first).total_seconds() == 3600
    assert user == "realmkeep"
    assert "/opt/realmkeep/bin/realmkeep backup create --prune" in command
    assert "%" not in command  # cron makes a line end of it
    with pytest.raises(CronSimError):
        CronSim("61 * * * *", datetime(2026, 11, 30, tzinfo=UTC))


def test_sysctl_has_the_line_that_doctor_asks_for() -> None:
    lines = [line for line in TEXTS["sysctl/realmkeep.conf"].splitlines() if not line.startswith("#")]
    assert lines == ["vm.overcommit_memory = 1"]


# --- Prometheus


def test_prometheus_scrapes_the_address_of_the_settings() -> None:
    (scrape,) = documents("prometheus/prometheus.yml")
    (job,) = scrape["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["127.0.0.1:9464"]}]


def test_the_alerts_and_the_dashboard_are_those_of_the_metrics() -> None:
    assert TEXTS["prometheus/realmkeep.rules.yml"] == ALERT_RULES.read_text(encoding="utf-8")
    assert TEXTS["grafana/realmkeep.dashboard.json"] == DASHBOARD.read_text(encoding="utf-8")
    assert documents("prometheus/prometheus.yml")[0]["rule_files"] == ["realmkeep.rules.yml"]


@pytest.mark.needs("promtool")
def test_promtool_accepts_the_scrape_with_its_rules(tmp_path: Path) -> None:
    def checked(scrape: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "prometheus.yml").write_text(scrape, encoding="utf-8")
        command = [needed("promtool"), "check", "config", tmp_path / "prometheus.yml"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)

    (tmp_path / "realmkeep.rules.yml").write_text(TEXTS["prometheus/realmkeep.rules.yml"], encoding="utf-8")
    said = checked(TEXTS["prometheus/prometheus.yml"])
    assert (said.returncode, "rules found" in said.stdout) == (0, True), said.stderr
    assert checked(TEXTS["prometheus/prometheus.yml"].replace("job_name", "jobname")).returncode == 1


# --- containers


@pytest.mark.needs("hadolint")
def test_the_dockerfile_is_linted(tmp_path: Path) -> None:
    hadolint = Path(sys.executable).with_name("hadolint")

    def lint(text: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "Dockerfile").write_text(text, encoding="utf-8")
        command = [hadolint, "--no-color", tmp_path / "Dockerfile"]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)

    text = TEXTS["container/Dockerfile"]
    assert lint(text).stdout == ""
    assert "DL3006" in lint(text.replace("python:3.13-slim-trixie", "python")).stdout
    assert lint(text.replace("FROM python", "FORM python")).returncode != 0


def composed(text: str) -> PyCompose:
    """A compose file; its merge keys are resolved first, as Compose does."""
    return PyCompose.from_json(json.dumps(yaml.safe_load(text)))


def test_the_compose_file_is_of_the_specification() -> None:
    text = TEXTS["container/compose.yaml"]
    compose = composed(text)
    assert sorted(compose.service_names()) == ["server", "store", "volumes"]
    with pytest.raises(ValueError, match="network_mod"):
        composed(text.replace("network_mode:", "network_mod:"))


def test_the_containers_of_a_compose_file_are_hardened_and_in_order() -> None:
    (compose,) = documents("container/compose.yaml")
    services: Mapping[str, Any] = compose["services"]
    for service in services.values():
        assert (service["user"], service["read_only"], service["cap_drop"]) == (
            f"{CONTAINER_UID}:{CONTAINER_UID}",
            True,
            ["ALL"],
        )
        assert ":" in service["image"]
    assert services["store"]["network_mode"] == "none"
    assert "ports" not in services["store"]
    assert services["server"]["depends_on"] == {"store": {"condition": "service_healthy"}}
    published = services["server"]["ports"]
    assert [port for port in published if "9464" in port] == ["127.0.0.1:9464:9464/tcp"]
    for name in ("store", "server"):
        assert f"state:{STATE}" in services[name]["volumes"]


def test_the_manifests_are_of_kubernetes() -> None:
    kinds: list[str] = []
    for manifest in documents("kubernetes/realmkeep.yaml"):
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
        kinds.append(manifest["kind"])
    assert kinds == ["ConfigMap", "Service", "Service", "NetworkPolicy", "StatefulSet"]
    broken = documents("kubernetes/realmkeep.yaml")[-1]
    broken["spec"]["template"]["spec"]["containers"][0]["livenessProb"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="livenessProb"):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_the_pod_is_probed_and_its_store_is_stopped_last() -> None:
    *_, stateful = documents("kubernetes/realmkeep.yaml")
    pod = stateful["spec"]["template"]["spec"]
    (server,) = pod["containers"]
    probes = {name: server[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/healthz",
        "livenessProbe": "/healthz",
        "readinessProbe": "/readyz",
    }
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert ports["operations"] == 9464
    assert {probe["port"] for probe in probes.values()} == {"operations"}
    store = next(each for each in pod["initContainers"] if each["name"] == "store")
    assert store["restartPolicy"] == "Always"  # a sidecar: it starts before the server, and ends after it
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in (*pod["initContainers"], server):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
    configuration = documents("kubernetes/realmkeep.yaml")[0]["data"]["valkey.conf"]
    assert configuration == TEXTS["valkey.conf"]


def test_the_memory_of_the_stores_container_has_room_for_a_snapshot() -> None:
    texts = deployment_files(Deployment(maxmemory_bytes=1024 * 1024**2))
    *_, stateful = yaml.safe_load_all(texts["kubernetes/realmkeep.yaml"])
    store = next(each for each in stateful["spec"]["template"]["spec"]["initContainers"] if each["name"] == "store")
    assert store["resources"]["limits"]["memory"] == "1366Mi"
    (server,) = stateful["spec"]["template"]["spec"]["containers"]
    assert server["resources"]["limits"]["memory"] == "3413Mi"  # a verification loads the store once more
    (claim,) = stateful["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["resources"]["requests"]["storage"] == "10Gi"
    assert "maxmemory 1073741824" in texts["valkey.conf"]
