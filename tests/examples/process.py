"""An example as a process: started as its page says, killed, and started again."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from realmkeep.testing.replicated import free_ports

ROOT = Path(__file__).parents[2]
LIMIT_S = 60.0  # for a start or an end on a busy machine


class Example:
    """A program of `examples/`, with its store in a directory of the test."""

    def __init__(self, name: str, store: str, directory: Path) -> None:
        self.port = free_ports(1)
        self._command = [sys.executable, str(ROOT / "examples" / name), store, str(self.port)]
        self._directory = directory
        self._said = directory / "said.txt"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._process is not None:
            self.kill()

    def start(self) -> None:
        """Return when it listens, at the port that it had before."""
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(self._command, cwd=self._directory, stdout=said, stderr=said)
        until = time.monotonic() + LIMIT_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), LIMIT_S).close()
            except ConnectionRefusedError:
                assert self._process.poll() is None, self.said()
                assert time.monotonic() < until
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        self._ended(signal.SIGKILL)

    def stop(self) -> int:
        """End it as a supervisor does; the exit code."""
        return self._ended(signal.SIGTERM)

    def _ended(self, number: signal.Signals) -> int:
        process, self._process = self._process, None
        assert process is not None
        process.send_signal(number)
        return process.wait(LIMIT_S)

    def said(self) -> str:
        """What it has printed and logged since its last start."""
        return self._said.read_text(encoding="utf-8")
