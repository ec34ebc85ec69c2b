"""The embedded store: a server starts and supervises it; the drill finds its process and breaks it."""

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

from realmkeep.drill.checks import Stuck
from realmkeep.drill.checks.contents import Keys, Snapshot, read_redis
from realmkeep.drill.processes import state_of
from realmkeep.drill.stores.redis import time_of
from realmkeep.drill.stores.store import Trait
from realmkeep.storage.embedded_process import socket_path
from realmkeep.testing.servers import StoreServer, ask_store

TRAITS: Final = frozenset(
    {Trait.OWN, Trait.DIRECTORY, Trait.PROCESS, Trait.FILES, Trait.LOSSLESS, Trait.COMMANDS, Trait.SHIM}
)


class EmbeddedStore:
    """The store of one directory."""

    def __init__(self, directory: Path) -> None:
        self.traits = TRAITS
        self.directory = directory
        directory.chmod(0o700)

    @property
    def url(self) -> str:
        """The URL for its server."""
        return f"embedded:///{self.directory}"

    @property
    def socket_path(self) -> Path:
        """Its socket."""
        return socket_path(self.directory)

    def pid(self) -> int | None:
        """Return its process, if it lives: the file of a dead one may name another program's."""
        try:
            pid = int((self.directory / "store.pid").read_text(encoding="ascii"))
            command_line = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self.directory / "store.conf") in command_line else None

    def kill(self) -> None:
        """Send SIGKILL; its server, the parent, notices and starts it again."""
        self._signal(signal.SIGKILL)

    def start(self) -> None:
        """Do nothing: its server starts it."""

    def pause(self) -> None:
        """Send SIGSTOP, and return when it stands still."""
        pid = self._signal(signal.SIGSTOP)
        while state_of(pid) not in {"T", "Z", ""}:
            os.sched_yield()

    def resume(self) -> None:
        """Send SIGCONT."""
        with suppress(Stuck):  # it was killed meanwhile
            self._signal(signal.SIGCONT)

    def close(self) -> None:
        """Kill it: it outlives a server that was killed."""
        if self.pid() is not None:
            self.kill()

    def read(self, keys: Keys) -> Snapshot:
        """Read it at one moment."""
        return read_redis(keys, unix_socket_path=str(self.socket_path))

    def read_at_rest(self, keys: Keys) -> Snapshot:
        """Read its files, with a store of ours: its server has stopped it."""
        with StoreServer(self.directory) as store:
            return read_redis(keys, unix_socket_path=str(store.socket_path))

    def ask(self, *command: str | bytes | int) -> object:
        """Send one command."""
        return ask_store(self.socket_path, *command)

    def wall_s(self) -> float:
        """Return the time by its own clock."""
        return time_of(self.ask("TIME"))

    def _signal(self, number: signal.Signals) -> int:
        pid = self.pid()
        if pid is None:
            raise Stuck("the embedded store does not run")
        os.kill(pid, number)
        return pid
