"""What an operator gets wrong, or finds wrong: one sentence that names it and says what to do, and the right exit code."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from client import PATIENCE_S
from server import SETTINGS, Server, running

from realmkeep.cli import main
from realmkeep.cli.app import app
from realmkeep.cli.commands import COMMANDS
from realmkeep.errors import ConfigError
from realmkeep.realm.server.reports import located

COMMAND = [sys.executable, "-m", "realmkeep.cli"]
ENVIRONMENT = {**os.environ, **SETTINGS}


def refused(*arguments: str) -> str:
    """What a command says that must not start: one sentence, no traceback."""
    ended = subprocess.run(
        [*COMMAND, *arguments], env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    assert ended.returncode == 1, ended
    assert "Traceback" not in ended.stderr
    *logs, said = ended.stderr.splitlines()
    assert all(entry.startswith("{") for entry in logs)
    assert said.startswith("realmkeep: ")
    return said


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_port_in_use_is_named_with_its_protocol(tmp_path: Path, kind: str) -> None:
    with socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM) as holder:
        holder.bind(("127.0.0.1", 0))
        if kind == "tcp":
            holder.listen()
        port = holder.getsockname()[1]
        ports = {"tcp": "0", "udp": "0", kind: str(port)}
        said = refused(
            "serve", "--store", "memory://", "--data", str(tmp_path), "--tcp-port", ports["tcp"], "--udp-port", ports["udp"]
        )  # fmt: skip
    assert f"cannot listen on {kind.upper()} 127.0.0.1:{port}: Address already in use" in said
    assert f"--{kind}-port" in said


def test_a_directory_that_is_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert f"{file} is not a directory" in refused("serve", "--data", str(file))


def test_a_store_that_is_away_at_the_start_is_not_said_to_be_tried_again(tmp_path: Path) -> None:
    said = refused("serve", "--store", f"redis+unix://{tmp_path}/none.sock", "--data", str(tmp_path))
    assert "No such file or directory" in said
    assert "store.url" in said


def test_a_crowd_without_a_server_says_so_before_anybody_waits_for_two_minutes() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        said = refused("crowd", "--host", "127.0.0.1", "--tcp-port", str(port), "--bots", "2")
    assert f"no server answers at 127.0.0.1, tcp {port}: start `realmkeep serve` first" in said


def test_a_journal_that_cannot_be_written_is_named(tmp_path: Path, shared_server: Server) -> None:
    journal = tmp_path / "none" / "journal.jsonl"
    said = refused("crowd", "--data", str(shared_server.directory), "--bots", "1", "--journal", str(journal))
    assert said == f"realmkeep: {journal}: No such file or directory"


def test_a_store_that_nobody_could_reach_is_not_configured() -> None:
    with pytest.raises(ConfigError, match="no server could reach this store"):
        app(["store", "config", "--port", "0"], result_action="return_value")


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_every_command_says_what_it_is_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["realmkeep", *arguments])
    main()
    rows = [row.split(maxsplit=1) for row in capsys.readouterr().out.splitlines() if row.startswith("  ")]
    assert {name for name, told in rows if told} == {*(command.name for command in COMMANDS), "--help", "--version"}
    assert len(rows) == len(COMMANDS) + 2


@pytest.mark.parametrize("command", [command.name for command in COMMANDS])
def test_every_command_has_its_own_help(capsys: pytest.CaptureFixture[str], command: str) -> None:
    app([command, "--help"], result_action="return_value")
    assert capsys.readouterr().out.startswith(f"Usage: realmkeep {command} ")


def test_a_package_that_is_missing_is_named_and_nothing_else_is_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["realmkeep", "serve"])
    monkeypatch.setitem(sys.modules, "realmkeep.cli.app", None)
    with pytest.raises(ModuleNotFoundError):
        main()
    monkeypatch.delitem(sys.modules, "realmkeep.cli.app")
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    with pytest.raises(SystemExit, match=r"the package cyclopts is not installed \(pip install 'realmkeep\[all\]'\)"):
        main()


def test_a_server_whose_streams_are_closed_serves(tmp_path: Path) -> None:
    def close_all() -> None:
        for number in (0, 1, 2):
            os.close(number)

    process = subprocess.Popen(
        [*COMMAND, "serve", "--data", str(tmp_path), "--tcp-port", "0", "--udp-port", "0"],
        env=ENVIRONMENT,
        preexec_fn=close_all,  # noqa: PLW1509 - no thread runs here
    )
    file = tmp_path / "server.json"
    while process.poll() is None and not file.exists():
        os.sched_yield()
    assert file.exists()
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0


@pytest.mark.parametrize(("name", "value"), [("TERM", "dumb"), ("NO_COLOR", "1")])
def test_a_terminal_that_wants_no_colours_gets_none(tmp_path: Path, name: str, value: str) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "serve", "--store", "memory://", "--data", str(tmp_path), "--tcp-port", "0", "--udp-port", "0"],
        env={**ENVIRONMENT, "TERM": "xterm", name: value},
        stderr=theirs,
        stdin=theirs,
    )
    os.close(theirs)
    written = b""
    while b"public key" not in written:
        written += os.read(ours, 65536)
    process.send_signal(signal.SIGTERM)
    while b"closed" not in written:
        written += os.read(ours, 65536)
    assert process.wait(PATIENCE_S) == 0
    os.close(ours)
    assert b"\x1b[" not in written.replace(b"\x1b[2K", b"" if name == "NO_COLOR" else b"\x1b[2K")


def test_a_second_signal_says_what_it_did(tmp_path: Path) -> None:
    server = Server(tmp_path).start()
    store_pid = server.told["store_pid"]
    os.kill(store_pid, signal.SIGSTOP)  # so that the end takes time
    server.send_signal(signal.SIGTERM)
    while "shutting down" not in server.log:
        os.sched_yield()
    server.send_signal(signal.SIGTERM)
    assert server.ended() == 130
    assert "a second signal: stopped at once" in server.log
    os.kill(store_pid, signal.SIGCONT)
    server.start().stop()


@pytest.mark.parametrize(
    ("url", "path"),
    [("embedded:///data/r%20m", "{here}/data/r m"), ("sqlite:////var/realm.db", "/var/realm.db")],
)
def test_a_store_on_this_machine_is_shown_with_the_place_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, path: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert located(url) == f"{url} in {path.format(here=tmp_path)}"


def test_a_store_elsewhere_is_shown_by_its_address() -> None:
    assert located("redis://realm@db:6379/0") == "redis://realm@db:6379/0"


def test_a_rescue_file_without_a_line_is_moved_aside_at_the_start(tmp_path: Path) -> None:
    left = tmp_path / "rescue.jsonl"
    left.touch(mode=0o600)
    with running(tmp_path, STORE__URL="memory://") as server:
        assert not left.exists()
    (told,) = [json.loads(line) for line in server.log.splitlines() if "before anybody is let in" in line]
    assert (told["level"], str(left) in told["event"]) == ("warning", True)
