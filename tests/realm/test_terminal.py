"""What an operator sees: on a terminal one live line below the logs, elsewhere JSON and nothing else."""

import asyncio
import codecs
import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from client import PATIENCE_S, Client
from server import SETTINGS, Server

from realmkeep.realm.server.terminal import ERASE_LINE, LiveLine

STATUS = re.compile(r"players \d+  dirty \d+  oldest \d+ s  commits/s \d+  tick p99 [\d.]+ ms late")
STAMP = re.compile(r"20\d\d-\d\d-\d\dT")
COLOUR = re.compile(r"\x1b\[[\d;]*m")
UNFINISHED = re.compile(r"\x1b[\[\d;]*\Z")


class Terminal:
    """The other end of a pseudo-terminal: shows what a person would see.

    Attributes:
        rows: Every row that ever stood there, the present last: long text goes on in the next row, as on a real one.
    """

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows = [""]
        self.written = b""
        self._column = 0
        self._text = codecs.getincrementaldecoder("utf-8")("replace")
        self._unread = ""
        self.ours, self.theirs = pty.openpty()
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))

    def read_until(self, enough: Callable[[], bool]) -> None:
        give_up_s = time.monotonic() + PATIENCE_S
        while not enough():
            assert time.monotonic() < give_up_s, self.rows
            if select.select([self.ours], [], [], 0.1)[0]:
                new = os.read(self.ours, 65536)
                self.written += new
                self._show(self._text.decode(new))

    def _show(self, text: str) -> None:
        text = COLOUR.sub("", self._unread + text)
        end = text.rfind("\x1b") if UNFINISHED.search(text) else len(text)
        text, self._unread = text[:end], text[end:]
        for part in re.findall(r"\x1b\[2K|.", text, re.DOTALL):
            row = self.rows[-1]
            match part:
                case "\x1b[2K":
                    self.rows[-1] = ""
                case "\r":
                    self._column = 0
                case "\n":
                    self.rows.append("")
                case _ if self._column == self.columns:
                    self.rows.append(part)
                    self._column = 1
                case _:
                    self.rows[-1] = row[: self._column].ljust(self._column) + part + row[self._column + 1 :]
                    self._column += 1

    def close(self) -> None:
        os.close(self.ours)


@contextmanager
def options(terminal: Terminal, directory: Path) -> Generator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "realmkeep.cli", "serve", "--tcp-port", "0", "--udp-port", "0"]
    process = subprocess.Popen(
        [*command, "--data", str(directory)],
        env={**os.environ, "TERM": "xterm-256color", **SETTINGS},
        stdin=terminal.theirs,
        stdout=terminal.theirs,
        stderr=terminal.theirs,
        start_new_session=True,
    )
    os.close(terminal.theirs)
    try:
        terminal.read_until((directory / "server.json").exists)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()  # its store ends with it
        process.wait(PATIENCE_S)


def come_in_and_drop_out(terminal: Terminal, directory: Path, *names: str) -> None:
    """Read the terminal meanwhile: a server whose terminal is full stands still."""
    with ThreadPoolExecutor() as pool:
        gone = pool.submit(asyncio.run, _come_in_and_drop_out(directory, names))
        terminal.read_until(gone.done)
        gone.result()


async def _come_in_and_drop_out(directory: Path, names: tuple[str, ...]) -> None:
    told = json.loads((directory / "server.json").read_text())
    for name in names:
        client = await Client(told["host"], told["tcp"], told["udp"]).connect()
        assert (await client.register(name))["type"] == "auth_ok"
        client.drop()
        await asyncio.sleep(0)


def test_the_live_line_is_the_last_row_whatever_is_logged_above_it(tmp_path: Path) -> None:
    terminal = Terminal(columns=250)
    with options(terminal, tmp_path) as process:
        terminal.read_until(lambda: STATUS.fullmatch(terminal.rows[-1]) is not None)
        come_in_and_drop_out(terminal, tmp_path, *(f"terminal-{number}" for number in range(5)))
        terminal.read_until(lambda: terminal.rows[-1].startswith("players 5  "))
        *above, last = terminal.rows
        assert STATUS.fullmatch(last)
        assert len([row for row in above if "player logged in" in row]) == 5
        told = json.loads((tmp_path / "server.json").read_text())
        for fact in ("store       embedded://", "promise     acknowledged operations survive", f":{told['tcp']}"):
            assert any(fact in row for row in above)
        assert f"public key  {told['auth_public_key']}" in above
        assert not any("admin" in row for row in above), "there is no such address"
        process.send_signal(signal.SIGINT)
        terminal.read_until(lambda: "closed" in terminal.rows[-2])
        assert process.wait(PATIENCE_S) == 0
    *above, last = terminal.rows
    assert last == "", "the live line is gone when there is nothing left to tell"
    for row in above:
        assert STATUS.search(row) is None
        assert [found.start() for found in STAMP.finditer(row)] in ([], [0]), "one entry a row"
    terminal.close()


def test_on_a_narrow_terminal_the_live_line_leaves_no_traces(tmp_path: Path) -> None:
    terminal = Terminal(columns=30)
    with options(terminal, tmp_path) as process:
        drawn = b"\r\x1b[2Kplayers"
        terminal.read_until(lambda: terminal.written.count(drawn) >= 3 and terminal.rows[-1].endswith("…"))
        assert [row for row in terminal.rows if row.startswith("players")] == [terminal.rows[-1]]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0
    terminal.close()


def test_a_server_whose_terminal_is_closed_saves_everything_and_ends_well(tmp_path: Path) -> None:
    terminal = Terminal(columns=80)
    with options(terminal, tmp_path) as process:
        come_in_and_drop_out(terminal, tmp_path, "orphan")
        terminal.close()
        process.send_signal(signal.SIGHUP)  # as the kernel does for the terminal's own session
        assert process.wait(PATIENCE_S) == 0
    assert not (tmp_path / "server.json").exists()


def test_without_a_terminal_there_is_json_and_nothing_else(tmp_path: Path) -> None:
    server = Server(tmp_path).start()
    assert server.stop() == 0
    assert "\x1b" not in server.log
    entries = [json.loads(line) for line in server.log.splitlines()]
    (ready,) = [entry for entry in entries if entry["event"] == "ready"]
    assert ready["tcp"] == f"{server.told['host']}:{server.told['tcp']}"
    assert ready["public_key"] == server.told["auth_public_key"]
    assert ready["promise"] == "acknowledged operations survive a loss of power"


class Sized:
    """A stream that is a terminal of a given width."""

    def __init__(self, fileno: int) -> None:
        self.written: list[str] = []
        self.fileno = lambda: fileno

    def write(self, text: str) -> None:
        self.written.append(text)

    def flush(self) -> None:
        pass


@pytest.mark.parametrize(
    ("columns", "shown"), [(20, "players 12  dirty 3"), (12, "players 12…"), (2, "…"), (0, "players 12  dirty 3")]
)
def test_a_live_line_never_reaches_the_last_column(columns: int, shown: str) -> None:
    terminal = Terminal(columns)
    stream = Sized(terminal.theirs)
    line = LiveLine(stream)  # pyright: ignore[reportArgumentType] - all of a stream that it uses
    line.show("players 12  dirty 3")
    line.above("somebody came in")
    assert stream.written == [ERASE_LINE + shown, f"{ERASE_LINE}somebody came in\n{shown}"]
    os.close(terminal.theirs)
    terminal.close()


CHILD = """
import os, sys
from realmkeep.realm.server.terminal import flush_or_discard
ours, theirs = os.openpty()
os.dup2(theirs, 2)
os.close(theirs)
os.close(ours)  # the terminal is gone
try:
    print("closed", file=sys.stderr, flush=True)
except OSError:
    {last}
"""


@pytest.mark.parametrize(("last", "code"), [("flush_or_discard(sys.stderr)", 0), ("pass", 120)])
def test_what_a_terminal_did_not_take_does_not_become_the_exit_code(last: str, code: int) -> None:
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ended = subprocess.run(
        [sys.executable, "-c", CHILD.format(last=last)], env=buffered, timeout=PATIENCE_S, check=False
    )
    assert ended.returncode == code
