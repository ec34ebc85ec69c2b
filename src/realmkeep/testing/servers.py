"""Real store servers for tests: started in milliseconds, killed, paused, started again."""

import os
import signal
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final, Self

import hiredis

from realmkeep.clock import SystemClock
from realmkeep.storage.embedded_config import Fsync, StoreSettings, configuration, find_binary

START_S_MAX: Final = 60.0  # a start takes milliseconds, but a busy machine may need longer
POLL_S: Final = 0.002
MAXMEMORY_BYTES: Final = 256 * 1024**2  # enough for every test


def ask_store(socket_path: Path, *command: str | bytes | int) -> object:
    """Send one command to the Valkey or Redis on a unix socket; an error reply is returned as an exception object. Blocks.

    Raises:
        OSError: It does not listen, or closes the connection.
    """
    with socket.socket(socket.AF_UNIX) as channel:
        channel.settimeout(START_S_MAX)
        channel.connect(str(socket_path))
        parts = [part if isinstance(part, bytes) else str(part).encode() for part in command]
        channel.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts))
        reader = hiredis.Reader()
        while (reply := reader.gets()) is False:
            received = channel.recv(65536)
            if not received:
                raise ConnectionResetError("the server closed the connection")
            reader.feed(received)
        return reply


class StoreServer:
    """A Valkey or Redis in a directory, on a unix socket.

    It is synchronous: use it in fixtures, or in a thread.

    Args:
        directory: Empty, or with the files of an earlier run.
        binary: The server program; by default the one of the embedded store.
        fsync: See `StoreSettings`.
        extra: More lines of configuration, which override those of `realmkeep store config`.

    Attributes:
        options: More arguments of the program.
    """

    options: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, directory: Path, *, binary: Path | None = None, fsync: Fsync = "always", extra: str = ""
    ) -> None:
        self._binary = binary or find_binary()
        self.directory = directory
        self._private = tempfile.TemporaryDirectory(prefix="rk-")  # a socket's name must be short
        self.socket_path = Path(self._private.name) / "s"
        self._fsync: Fsync = fsync
        self._extra = extra
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The URL for `open_storage`."""
        return f"redis+unix://{self.socket_path}"

    def start(self, *, wait: bool = True) -> None:
        """Start the server; with `wait`, return when it has loaded its data."""
        settings = StoreSettings(
            str(self.directory), str(self.socket_path), maxmemory_bytes=MAXMEMORY_BYTES, fsync=self._fsync
        )
        path = self.directory / "server.conf"
        path.write_text(configuration(settings) + self._extra, encoding="utf-8")
        with (self.directory / "log").open("ab") as log:
            command = [self._binary, path, *self.options]
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)  # noqa: S603 - a test's own server
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return when the server answers PING.

        Raises:
            TimeoutError: It does not within a minute, or has ended; the message has its log.
        """
        clock = SystemClock()
        deadline_s = clock.monotonic_s() + START_S_MAX
        while clock.monotonic_s() < deadline_s:
            with suppress(OSError):
                if self.ask("PING") == b"PONG":
                    return
            with suppress(subprocess.TimeoutExpired):
                self._running.wait(timeout=POLL_S)
                break
        raise TimeoutError((self.directory / "log").read_text(encoding="utf-8", errors="replace"))

    def ask(self, *command: str | bytes | int) -> object:
        """Send one command over a new connection; an error reply is returned as an exception object."""
        return ask_store(self.socket_path, *command)

    def kill(self) -> None:
        """Send SIGKILL, and wait until the server is gone."""
        self._running.kill()
        self._running.wait()

    def pause(self) -> None:
        """Send SIGSTOP, and wait until the server has stopped: a system call under way ends first."""
        self._running.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self._running.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        """Send SIGCONT."""
        self._running.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End the server, even a paused one; without effect if it has ended."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()

    def close(self) -> None:
        """`stop`, and remove the socket."""
        self.stop()
        self._private.cleanup()

    def __enter__(self) -> Self:
        """`start`; if that fails, clean up."""
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        assert self.process, "start() first"
        return self.process
