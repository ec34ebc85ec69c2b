"""The operator's port of a real server: while its real store is stopped, while it plays, and where it cannot listen."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from server import SETTINGS, Server, running

from operations.metrics.scraping import PATIENCE_S, Answered, get

LISTENS = {"OPERATIONS__LISTEN": "127.0.0.1:0"}


def until(holds: Callable[[Answered], bool], ask: Callable[[], Answered]) -> Answered:
    """The first answer for which something holds."""
    give_up_s = time.monotonic() + PATIENCE_S
    while not holds(answer := ask()):
        assert time.monotonic() < give_up_s, answer
        time.sleep(0.02)
    return answer


def test_a_stopped_store_makes_it_not_ready_and_leaves_it_healthy(tmp_path: Path) -> None:
    """How soon is proved by the clock of `test_port.py`: within two seconds."""
    with running(tmp_path, **LISTENS) as server:
        address, store = server.told["operations"], server.told["store_pid"]
        assert (get(address, "/readyz")[::2]) == (200, "ready\n")
        os.kill(store, signal.SIGSTOP)
        try:
            refused = until(lambda answer: answer.status != 200, lambda: get(address, "/readyz"))
            assert (refused.status, refused.text) == (503, "the store does not answer\n")
            assert get(address, "/healthz").status == 200
            assert "realmkeep_store_up 0.0\n" in get(address, "/metrics").text
        finally:
            os.kill(store, signal.SIGCONT)
        until(lambda answer: answer.status == 200, lambda: get(address, "/readyz"))


def test_a_server_that_stops_lets_nobody_in_and_stays_healthy_until_its_end(tmp_path: Path) -> None:
    """The shutdown waits for a store that is stopped, so there is time to ask."""
    with running(tmp_path, **LISTENS) as server:
        address, store = server.told["operations"], server.told["store_pid"]
        os.kill(store, signal.SIGSTOP)
        try:
            server.send_signal(signal.SIGTERM)
            stopping = until(lambda answer: "the keeper is draining" in answer.text, lambda: get(address, "/readyz"))
            assert stopping.status == 503
            assert "the realm is stopping" in stopping.text
            assert get(address, "/healthz").status == 200
        finally:
            os.kill(store, signal.SIGCONT)
        assert server.ended() == 0


async def test_players_and_the_store_are_in_the_metrics(tmp_path: Path) -> None:
    with running(tmp_path, **LISTENS) as server:
        address = server.told["operations"]
        player = await server.player("ada")
        assert f"http://{address}/metrics" in server.log
        metrics = until(lambda answer: "store_memory_used" in answer.text, lambda: get(address, "/metrics")).text
        for line in (
            'realmkeep_logins_total{how="registration",outcome="ok"} 1.0',
            'realmkeep_sessions{kind="player",state="connected"} 1.0',
            'realmkeep_store_healthy{what="aof_write"} 1.0',
            "realmkeep_store_memory_max_bytes ",
            "realmkeep_store_aof_rewrites_total ",
            "realmkeep_tick_lateness_seconds_count ",
        ):
            assert line in metrics, metrics
        report = json.loads(get(address, "/status").text)
        assert report["sessions"]["player"] == {"connected": 1}
        assert report["durations"]["tick"]["counts"]
        player.drop()


def test_an_address_of_the_settings_that_is_taken_stops_the_start(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        environment = {**os.environ, **SETTINGS, "REALMKEEP_OPERATIONS__LISTEN": listen}
        ended = subprocess.run(
            [
                sys.executable,
                "-m",
                "realmkeep.cli",
                "serve",
                "--store",
                "memory://",
                "--data",
                str(tmp_path),
                "--tcp-port",
                "0",
                "--udp-port",
                "0",
            ],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )
    assert ended.returncode == 1
    assert f"realmkeep: cannot listen on {listen} for metrics and health: " in ended.stderr
    assert "operations.listen" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_usual_port_may_be_taken_by_the_first_server_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("REALMKEEP_OPERATIONS__LISTEN")
    try:
        taken = socket.create_server(("127.0.0.1", 9464))
    except OSError:
        taken = socket.socket()  # another program has it: as good
    with closing(taken), running(tmp_path, "--store", "memory://") as server:
        assert server.told["operations"] is None
        assert "there are no metrics" in server.log
        assert "127.0.0.1:9464" in server.log


def test_without_the_packages_the_server_says_which_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "prometheus_client.py").write_text("raise ModuleNotFoundError('gone', name='prometheus_client')\n")
    monkeypatch.setenv("PYTHONPATH", str(blocked))
    server = Server(tmp_path / "data", "--store", "memory://", **LISTENS)
    with pytest.raises(AssertionError, match="realmkeep\\[metrics\\]"):
        server.start()
    monkeypatch.delenv("REALMKEEP_OPERATIONS__LISTEN")
    with running(tmp_path / "other", "--store", "memory://") as plain:
        assert plain.told["operations"] is None
        assert "realmkeep[metrics]" in plain.log


@pytest.mark.parametrize(
    ("settings", "said", "unsaid"),
    [
        ({"OPERATIONS__LOG_LEVELS": "realm.login=warning"}, '"event": "ready"', "player logged in"),
        ({"OPERATIONS__LOG_LEVEL": "error", "OPERATIONS__LOG_LEVELS": "realm.login=info"}, "player logged in", "ready"),
    ],
    ids=["a quiet part", "a part that is not"],
)
async def test_the_log_has_the_levels_of_the_settings(
    tmp_path: Path, settings: dict[str, str], said: str, unsaid: str
) -> None:
    with running(tmp_path, "--store", "memory://", "--log-format", "json", **settings) as server:
        (await server.player("ada")).drop()
        log = server.log
    assert said in log
    assert unsaid not in log
