"""The real server, as a process, on free ports."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from client import PATIENCE_S, Client

SETTINGS = {
    "REALMKEEP_AUTH__HASH": "pbkdf2-sha256",
    "REALMKEEP_AUTH__ANSWER_TIME_S": "0",
    "REALMKEEP_KEEPER__STRICT": "true",
}


class Server:
    """One server process and its clients; what it prints stands in `log_path`."""

    def __init__(self, directory: Path, *flags: str, command: str = "serve", **settings: str) -> None:
        self.directory = directory
        self.command = command
        self.flags = flags
        self.log_path = directory / "log"
        own = {f"REALMKEEP_{key}": value for key, value in settings.items()}
        self.environment = {**os.environ, **SETTINGS, **own}
        self.process: subprocess.Popen[bytes] | None = None
        self.told: dict[str, Any] = {}
        self.clients: list[Client] = []

    @property
    def file(self) -> Path:
        return self.directory / "server.json"

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> "Server":
        """Returns when `server.json` says that it listens; the second time on the same ports."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.file.unlink(missing_ok=True)
        ports = ["--tcp-port", str(self.told.get("tcp", 0))]
        if self.command == "serve":
            ports += ["--udp-port", str(self.told.get("udp", 0))]
        command = [sys.executable, "-m", "realmkeep.cli", self.command, "--data", str(self.directory)]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *ports, *self.flags],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        give_up_s = time.monotonic() + PATIENCE_S
        while not self.file.exists():
            assert self.running, self.log
            assert time.monotonic() < give_up_s, self.log
            time.sleep(0.01)
        self.told = json.loads(self.file.read_text())
        return self

    def send_signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def ended(self) -> int:
        """Waits for the exit code."""
        assert self.process is not None
        return self.process.wait(PATIENCE_S)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        self.send_signal(signal.SIGTERM)
        return self.ended()

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)
        self.ended()

    def client(self, **how: Any) -> Client:
        """A client that is dropped at the end of the test."""
        client = Client(self.told["host"], self.told["tcp"], self.told["udp"], **how)
        self.clients.append(client)
        return client

    async def player(self, username: str, **how: Any) -> Client:
        """A registered player, connected."""
        client = await self.client(**how).connect()
        answer = await client.register(username)
        assert answer["type"] == "auth_ok", (answer, self.log)
        return client

    def drop_clients(self) -> None:
        for client in self.clients:
            client.drop()
        self.clients.clear()


@contextmanager
def running(directory: Path, *flags: str, command: str = "serve", **settings: str) -> Generator[Server]:
    """A server that is stopped, with its store, at the end, and must have ended well."""
    server = Server(directory, *flags, command=command, **settings)
    try:
        yield server.start()
    finally:
        server.drop_clients()
        if server.running:
            code = server.stop()
            assert code == 0, server.log
