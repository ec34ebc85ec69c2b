"""`realmkeep status` and `realmkeep top` on a real port: what is printed, and the exit code."""

import asyncio
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from keeping.game import Player, earn
from operations.metrics.scraping import PATIENCE_S
from realmkeep.config import Config, OperationsConfig
from realmkeep.errors import ConfigError
from realmkeep.keeping import Keeper
from realmkeep.operations.metrics import ObservedServer, operations_port
from realmkeep.operations.status.client import find_port

FREE = "127.0.0.1:0"


async def ran(*arguments: str, cwd: Path | None = None) -> tuple[int, str, str]:
    """Exit code, output and errors of a command, while the port of this event loop answers it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "realmkeep.cli",
        *arguments,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE_S):
        out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_status_and_top_of_a_server_that_is_well() -> None:
    async with Keeper.open("memory://") as keeper, operations_port(keeper, FREE) as address:
        await keeper.commit(earn, await keeper.login(Player, 1, create=Player))
        code, out, err = await ran("status", address)
        assert (code, err) == (0, "")
        assert out.startswith("realm-1  ready  up 0:00:0")
        assert re.search(r"^commits +1 committed +$", out, re.MULTILINE)
        code, out, _ = await ran("status", f"http://{address}", "--json")
        assert (code, json.loads(out)["commits"]["committed"]) == (0, 1)
        code, out, _ = await ran("top", address, "--count", "2", "--interval", "0.1", "--json")
        assert (code, [json.loads(line)["server"] for line in out.splitlines()]) == (0, ["realm-1", "realm-1"])
        code, out, _ = await ran("top", address, "--count", "2", "--interval", "0.1")
        assert (code, out.count("realm-1  ready")) == (0, 2)
        assert "/s committed" in out


async def test_a_server_that_breaks_a_promise_exits_with_one() -> None:
    async with Keeper.open("memory://") as keeper:
        server = ObservedServer(keeper, degraded=lambda: ["the map is stale"], not_ready=lambda: ["no zone is open"])
        async with operations_port(server, FREE) as address:
            code, out, _ = await ran("status", address)
            assert code == 1
            assert "NOT READY" in out
            assert "not ready: no zone is open\nDEGRADED: the map is stale\n" in out
            assert (await ran("top", address, "--count", "1"))[0] == 1


async def test_no_server_exits_with_69_and_one_line(tmp_path: Path) -> None:
    for command in (["status"], ["top", "--count", "1"]):
        code, out, err = await ran(*command, "127.0.0.1:1")
        assert code == 69, err
        assert "no server answers at 127.0.0.1:1: " in out + err
        assert "Traceback" not in err


async def test_a_port_of_another_program_is_told_from_a_realm() -> None:
    answers = {b"nothing": b"HTTP/1.0 404 Not Found\r\n\r\n", b"page": b"HTTP/1.0 200 OK\r\n\r\n<html>"}
    for name, answer in answers.items():

        async def reply(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes = answer) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        async with await asyncio.start_server(reply, "127.0.0.1", 0) as other:
            port = other.sockets[0].getsockname()[1]
            code, _, err = await ran("status", f"127.0.0.1:{port}")
        assert (code, "name another address" in err) == (69, True), (name, err)


async def test_a_mistyped_address_exits_with_78_and_a_wrong_option_with_2() -> None:
    assert (await ran("status", "not an address"))[0] == 78
    assert (await ran("top", "--count", "-1"))[0] == 2


def test_the_address_is_the_one_typed_then_that_of_the_directory_then_that_of_the_settings(tmp_path: Path) -> None:
    config = Config(operations=OperationsConfig(listen="127.0.0.1:1111"))
    assert find_port(None, tmp_path, config) == "127.0.0.1:1111"
    (tmp_path / "server.json").write_text('{"operations": "127.0.0.1:2222", "pid": 1}')
    (tmp_path / "server.json").chmod(0o600)
    assert find_port(None, tmp_path, config) == "127.0.0.1:2222"
    assert find_port("127.0.0.1:3333", tmp_path, config) == "127.0.0.1:3333"
    assert find_port("http://[::1]:3333/status", tmp_path, config) == "[::1]:3333"
    (tmp_path / "server.json").write_text('{"operations": null}')
    for listen in ("", "127.0.0.1:0"):
        with pytest.raises(ConfigError, match="no address is known"):
            find_port(None, tmp_path, Config(operations=OperationsConfig(listen=listen)))
    for wrong in ("nonsense", "host:port", "ftp://host:21", "[::1", "host:70000"):
        with pytest.raises(ConfigError, match="no address of a server"):
            find_port(wrong, tmp_path, config)


class Terminal:
    """A command on a pseudo-terminal of 80 columns and 24 rows."""

    def __init__(self, arguments: Sequence[str]) -> None:
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        environment = {
            name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "realmkeep.cli", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            env={**environment, "TERM": "xterm-256color"},
        )
        os.close(theirs)
        self.written = ""

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.ours)

    async def read_until(self, wanted: str) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while wanted not in self.written:
                self.written += (await asyncio.to_thread(os.read, self.ours, 65536)).decode(errors="replace")


async def test_top_takes_the_whole_terminal_and_gives_it_back_after_ctrl_c() -> None:
    async with Keeper.open("memory://") as keeper, operations_port(keeper, FREE) as address:
        await keeper.login(Player, 1, create=Player)
        with closing(Terminal(["top", address, "--interval", "0.1"])) as terminal:
            await terminal.read_until("/s committed")
            terminal.process.send_signal(signal.SIGINT)
            await terminal.read_until("\x1b[?1049l")
            assert await asyncio.to_thread(terminal.process.wait, PATIENCE_S) == 0
        assert "\x1b[?1049h" in terminal.written
        rows = re.sub(r"\x1b\[[?\d;]*[a-zA-Z]", "", terminal.written.replace("\x1b[H", "\n")).splitlines()
        assert max(map(len, rows)) <= 80
        assert "Traceback" not in terminal.written
