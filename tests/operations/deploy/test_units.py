"""The units run under a real systemd, with all of their hardening: it is booted in namespaces of the test's own."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from realmkeep.clock import SystemClock
from realmkeep.operations.deploy import Deployment, deployment_files, write_files
from realmkeep.storage.embedded_config import find_binary

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
WAIT_S = 90.0
POLL_S = 0.1
PYTHON = f"/usr/bin/python3.{sys.version_info.minor}"
NAMESPACES = ["--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--fork", "--kill-child", "--mount-proc"]


@pytest.mark.needs("systemd-boot")
def test_the_units_run_a_realm_back_it_up_and_stop_it(tmp_path: Path) -> None:
    write_files(tmp_path / "files", deployment_files(Deployment(valkey="/opt/realmkeep/bin/valkey-server")))
    (tmp_path / "drive.sh").write_text((HERE / "drive.sh").read_text(encoding="utf-8"), encoding="utf-8")
    arguments = [tmp_path, ROOT, sysconfig.get_path("purelib"), find_binary(), PYTHON]
    boot = 'ip link set lo up; exec sh "$@"'
    command = ["unshare", *NAMESPACES, "sh", "-c", boot, "boot", HERE / "boot.sh", *arguments]
    said = tmp_path / "said"
    with (tmp_path / "booted").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as systemd:
        try:
            wait_for_end(said, systemd)
        finally:
            systemd.kill()
    assert said.read_text(encoding="utf-8").splitlines() == [
        "ready 200",
        "backup success",
        "1",
        "server active, started again 0 times",
        "realmkeep success 0",
        "realmkeep-store success 0",
        "700 realmkeep /var/lib/realmkeep/backups",
        "700 realmkeep /var/lib/realmkeep/data",
        "700 realmkeep /var/lib/realmkeep/journal",
        "700 realmkeep /var/lib/realmkeep/store",
        "end",
    ]


def wait_for_end(said: Path, systemd: "subprocess.Popen[bytes]") -> None:
    """Return when the driver has come to its end."""
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + WAIT_S
    while not (said.exists() and said.read_text(encoding="utf-8").endswith("end\n")):
        logs = {path.name: path.read_text(encoding="utf-8") for path in said.parent.iterdir() if path.is_file()}
        assert clock.monotonic_s() < deadline_s, logs
        assert systemd.poll() is None, logs
        try:
            systemd.wait(POLL_S)
        except subprocess.TimeoutExpired:
            continue
