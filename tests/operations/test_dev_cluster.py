"""`realmkeep dev-cluster`: up with one command, gone with one signal, and there again with what was written."""

import asyncio
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from realmkeep.storage import Committed, Put, Transaction, open_storage
from realmkeep.testing.replicated import free_ports

pytestmark = pytest.mark.backend("redis-cluster")


class Running:
    def __init__(self, directory: Path, port: int) -> None:
        command = [sys.executable, "-m", "realmkeep.cli", "dev-cluster", str(directory), "--port", str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.said = self.process.stdout.readline() + self.process.stdout.readline()

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=30)
        return self.process.returncode


def end_of(process: "subprocess.Popen[str]") -> tuple[str, int]:
    _, told = process.communicate(timeout=60)
    return told, process.returncode


async def test_a_cluster_is_up_with_one_command_and_gone_with_one_signal(tmp_path: Path) -> None:
    port = await asyncio.to_thread(free_ports, 6)
    for number, signalled in enumerate((signal.SIGTERM, signal.SIGINT)):
        running = await asyncio.to_thread(Running, tmp_path, port)
        try:
            url = running.said.split()[-5].replace("REALM", "north")
            storage = open_storage(url)
            await storage.connect()
            assert await storage.load("a") == (b"1" if number else None)
            assert await storage.write([Transaction((), (Put("a", b"1"),))]) == [Committed()]
            await storage.disconnect()
            if not number:
                second = await asyncio.to_thread(Running, tmp_path / "other", port)
                told, code = await asyncio.to_thread(end_of, second.process)
                assert (told.startswith("realmkeep: the cluster in"), told.count("\n"), code) == (True, 1, 1), told
                assert "Failed listening on port" in told
        finally:
            assert await asyncio.to_thread(running.stop, signalled) == 0
        assert await asyncio.to_thread(free_again, port)


def free_again(port: int) -> bool:
    return all(_refuses(port + number) for number in range(6))


def _refuses(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
