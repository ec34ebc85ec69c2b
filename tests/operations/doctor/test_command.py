"""`realmkeep doctor` as an operator meets it: what it prints, what it asks, what it changes, how it exits."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from realmkeep.cli.app import app
from realmkeep.testing.servers import StoreServer

COMMAND = [sys.executable, "-m", "realmkeep.cli", "doctor"]
TIMEOUT_S = 60.0
OF_THE_MACHINE = [
    "clock-unsynchronised", "few-open-files", "overcommit", "huge-pages", "few-open-files-of-the-store", "files-in-memory",
    "files-in-a-container", "files-on-a-remote-system", "fsync-too-fast", "memory-limit-beyond-the-machine", "little-room", "no-verified-backup",
]  # fmt: skip
ACCEPTED = [word for name in OF_THE_MACHINE for word in ("--accept", name)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StoreServer]:
    with StoreServer(tmp_path) as server:
        yield server


class Ended(NamedTuple):
    code: object
    stdout: str
    stderr: str


Run = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: str) -> Ended:
        code: object = 0
        try:
            app(["doctor", *arguments], result_action="return_value")
        except SystemExit as ended:
            code = ended.code
        said = capsys.readouterr()
        if "--json" not in arguments:  # a line that is copied, and a path, are not broken
            lines = [line for line in said.out.splitlines() if " mend  " not in line and not line.startswith("store ")]
            assert max(map(len, lines), default=0) <= 80
        return Ended(code, said.out, said.err)

    return run


def setting(server: StoreServer, name: str) -> str:
    answer: Any = server.ask("CONFIG", "GET", name)
    return answer[1].decode()


def test_a_healthy_store_exits_with_0_and_its_promise_is_the_last_line(server: StoreServer, run: Run) -> None:
    ended = run(server.url, *ACCEPTED)
    said = ended.stdout.splitlines()
    assert ended.code == 0
    assert said[-2] == "No findings."
    assert said[-1].startswith("This store promises: ")


def test_a_finding_is_said_with_its_line_and_exits_with_1(server: StoreServer, run: Run) -> None:
    server.ask("CONFIG", "SET", "appendfsync", "no")
    code, said, _ = run(server.url, *ACCEPTED)
    assert code == 1
    assert "DANGER   appendfsync is no [fsync-never]\n" in said
    assert "   why   a power loss loses the writes" in said
    assert "   mend  CONFIG SET appendfsync always, then CONFIG REWRITE\n" in said
    assert said.endswith("1 finding; --fix mends 1.\nThis store promises: a crash of the store may lose everything.\n")
    assert setting(server, "appendfsync") == "no"


def test_json_has_the_whole_report(server: StoreServer, run: Run) -> None:
    server.ask("CONFIG", "SET", "appendfsync", "everysec")
    code, printed, _ = run(server.url, *ACCEPTED, "--json")
    report = json.loads(printed)
    assert code == 1
    (finding,) = report["findings"]
    assert (finding["name"], finding["grade"], finding["settings"]) == (
        "fsync-every-second", "warning", [["appendfsync", "always"]],
    )  # fmt: skip
    assert report["outcome"] == "examined"
    assert report["promise"] == "This store promises: a crash of the store may lose the last 2 s."


def test_fix_off_a_terminal_needs_yes_and_then_survives_a_restart(server: StoreServer, run: Run) -> None:
    server.ask("CONFIG", "SET", "appendonly", "no", "save", "", "latency-monitor-threshold", "0")
    refused = run(server.url, *ACCEPTED, "--fix")
    assert refused.code == 2
    assert "  CONFIG SET appendonly yes appendfsync always\n" in refused.stderr
    assert '  CONFIG SET save "300 1 60 1000"\n' in refused.stderr
    assert "nothing was changed" in refused.stderr
    assert setting(server, "appendonly") == "no"
    code, fixed, _ = run(server.url, *ACCEPTED, "--fix", "--yes")
    assert code == 0
    assert "append-only-off: mended\n" in fixed
    assert fixed.splitlines()[-2] == "No findings."
    written = (server.directory / "server.conf").read_text(encoding="utf-8")
    assert "appendonly yes" in written
    assert "latency-monitor-threshold 100" in written


def test_fix_changes_nothing_that_was_accepted(server: StoreServer, run: Run) -> None:
    server.ask("CONFIG", "SET", "appendfsync", "everysec", "rdbcompression", "no")
    assert run(server.url, *ACCEPTED, "--accept", "fsync-every-second", "--fix", "--yes").code == 0
    assert (setting(server, "appendfsync"), setting(server, "rdbcompression")) == ("everysec", "yes")


def test_an_accepted_name_without_a_finding_is_reported(server: StoreServer, run: Run) -> None:
    ended = run(server.url, *ACCEPTED, "--accept", "fsync-evry-second")
    assert (ended.code, "--accept 'fsync-evry-second': there is no such finding" in ended.stderr) == (0, True)


def test_fix_without_anything_to_fix_says_so(server: StoreServer, run: Run) -> None:
    ended = run(server.url, *ACCEPTED, "--fix")
    assert (ended.code, "nothing that --fix can mend" in ended.stderr) == (0, True)


def test_fix_says_when_a_restart_undoes_it(server: StoreServer, run: Run) -> None:
    server.ask("CONFIG", "SET", "latency-monitor-threshold", "0")
    server.ask("ACL", "SETUSER", "ops", "on", ">s3cr3t-word", "~*", "&*", "+@all", "-config|rewrite")
    url = f"redis+unix://ops:s3cr3t-word@{server.socket_path}"
    fixed = run(url, *ACCEPTED, "--fix", "--yes")
    assert fixed.code == 0
    assert "the changes hold until the store restarts" in fixed.stdout
    assert "s3cr3t-word" not in fixed.stdout


@pytest.mark.parametrize(("answer", "after"), [("y\n", "100"), ("\n", "0")])
def test_fix_asks_on_a_terminal(server: StoreServer, answer: str, after: str) -> None:
    server.ask("CONFIG", "SET", "latency-monitor-threshold", "0")
    terminal, theirs = pty.openpty()
    try:
        process = subprocess.Popen(
            [*COMMAND, server.url, *ACCEPTED, "--fix"],
            stdin=theirs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        os.write(terminal, answer.encode())
        _, said = process.communicate(timeout=TIMEOUT_S)
    finally:
        os.close(terminal)
        os.close(theirs)
    assert "Change them? [y/N]" in said
    assert setting(server, "latency-monitor-threshold") == after
    assert process.returncode == (0 if after == "100" else 1)


def test_the_other_exit_codes(server: StoreServer, tmp_path: Path, run: Run) -> None:
    assert run(f"redis+unix://{tmp_path}/none").code == 69
    server.ask("ACL", "SETUSER", "realm", "on", ">right", "~*", "+@all")
    wrong = run(f"redis+unix://realm:wr0ng@{server.socket_path}")
    assert (wrong.code, "wr0ng" in wrong.stdout) == (78, False)
    assert "every user of this machine can read the password" in wrong.stderr
    unknown = run("http://example.org")
    assert (unknown.code, "allowed is memory://" in unknown.stderr) == (78, True)
    assert run("--nonsense").code == 2


def test_the_store_of_the_settings_is_the_default(server: StoreServer, run: Run) -> None:
    environment = {**os.environ, "REALMKEEP_STORE__URL": server.url}
    ended = subprocess.run(
        [*COMMAND, *ACCEPTED], env=environment, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    assert (ended.returncode, ended.stdout.splitlines()[0][:20]) == (0, f"store    {server.url}"[:20])
