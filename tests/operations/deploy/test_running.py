"""Store and server run as the units start them: with the written files, in places of this machine."""

import http.client
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from operations.doctor.test_command import OF_THE_MACHINE
from realmkeep.clock import SystemClock
from realmkeep.operations.deploy import Deployment, deployment_files
from realmkeep.operations.deploy.files import SOCKET, STATE
from realmkeep.storage.embedded_config import find_binary
from realmkeep.testing.replicated import free_ports

COMMAND = [sys.executable, "-m", "realmkeep.cli"]
WAIT_S = 60.0
POLL_S = 0.02


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("d")


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a process that ends with the test."""
    with ExitStack() as processes:

        def start(command: list[str], at: Path) -> subprocess.Popen[bytes]:
            bare = {name: value for name, value in os.environ.items() if not name.startswith("REALMKEEP_")}
            process = subprocess.Popen(command, cwd=at, env=bare, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            processes.callback(process.wait)
            processes.callback(process.kill)
            return process

        yield start


def until(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    clock = SystemClock()
    deadline_s = clock.monotonic_s() + WAIT_S
    while not condition():
        assert process.poll() is None
        assert clock.monotonic_s() < deadline_s
        try:
            process.wait(POLL_S)
        except subprocess.TimeoutExpired:
            continue


def answer(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def started_by(unit: str) -> list[str]:
    """The command of a unit, with the program of the tests."""
    (line,) = [line for line in unit.splitlines() if line.startswith("ExecStart=")]
    program, *arguments = shlex.split(line.removeprefix("ExecStart="))
    assert program == "/opt/realmkeep/bin/realmkeep"
    return [*COMMAND, *arguments]


def of_the_machine() -> list[str]:
    """What this machine may be told is no matter of the written files."""
    return [word for name in OF_THE_MACHINE if name != "no-verified-backup" for word in ("--accept", name)]


def test_the_written_files_run_a_realm_that_is_ready_and_ends_cleanly(
    short: Path, start: Callable[..., subprocess.Popen[bytes]]
) -> None:
    port = free_ports(1)
    texts = deployment_files(Deployment(listen=f"127.0.0.1:{port}"))
    places = {STATE: f"{short}/state", SOCKET: f"{short}/s", "/etc/realmkeep": f"{short}/etc"}

    def here(text: str) -> str:
        for place, of_the_test in places.items():
            text = text.replace(place, of_the_test)
        return text

    for directory in ("etc", "state", "state/store", "state/data", "state/backups", "state/journal"):
        (short / directory).mkdir(mode=0o700)
    for name in ("valkey.conf", "realmkeep.toml"):
        (short / "etc" / name).write_text(here(texts[name]), encoding="utf-8")
    store = start([str(find_binary()), f"{short}/etc/valkey.conf"], at=short)
    until((short / "s").exists, store)
    serve, backup = (started_by(here(texts[f"systemd/realmkeep{name}.service"])) for name in ("", "-backup"))
    serve[serve.index("--host") + 1] = "127.0.0.1"
    server = start([*serve, "--tcp-port", "0", "--udp-port", "0"], at=short / "etc")
    until((short / "state/data/server.json").exists, server)
    assert json.loads((short / "state/data/server.json").read_text(encoding="utf-8"))["pid"] == server.pid
    assert {path: answer(port, path) for path in ("/healthz", "/readyz", "/metrics")} == {
        "/healthz": 200,
        "/readyz": 200,
        "/metrics": 200,
    }
    made = start(backup, at=short / "etc")
    assert made.wait(WAIT_S) == 0
    examined = start([*COMMAND, "doctor", *of_the_machine()], at=short / "etc")
    assert examined.wait(WAIT_S) == 0
    server.send_signal(signal.SIGTERM)
    assert server.wait(WAIT_S) == 0
    assert list((short / "state/journal").glob("*/*.jsonl.zst")), "the journal was archived where the commands look"
    store.send_signal(signal.SIGTERM)
    assert store.wait(WAIT_S) == 0
    assert (short / "state/store/dump.rdb").exists()  # its last snapshot
