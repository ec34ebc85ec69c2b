"""What the drill asks of a store."""

from enum import Enum, auto
from pathlib import Path
from typing import Protocol, runtime_checkable

from realmkeep.drill.checks.contents import Keys, Snapshot
from realmkeep.drill.link import Endpoint


class Trait(Enum):
    """What can be done to a store, and what it promises; a fault names what it needs."""

    PROCESS = auto()  # it has a process of its own, which the drill can kill and stop
    SHARED = auto()  # several servers can use it
    FILES = auto()  # its files can be replaced while it is down, and what it has lost is noticed
    LOSSLESS = auto()  # it syncs to disk before it answers
    COMMANDS = auto()  # it understands the commands of Valkey
    LINK = auto()  # it is reached over a connection that the drill can break
    SHIM = auto()  # it runs with the shim between it and its disk (gcc)
    TAKEOVER = auto()  # there are several servers, so a player can move on
    OWN = auto()  # the drill started it
    REPLICAS = auto()  # a replica takes the place of its primary
    SLOTS = auto()  # it can be moved from server to server while it is used
    DIRECTORY = auto()  # all its files are in its directory
    ARCHIVE = auto()  # a cold tier follows it


class Store(Protocol):
    """A store."""

    @property
    def url(self) -> str:
        """The URL for the servers."""
        ...

    @property
    def directory(self) -> Path:
        """The directory of its files."""
        ...

    @property
    def traits(self) -> frozenset[Trait]:
        """What can be done to it."""
        ...

    def pid(self) -> int | None:
        """Return its process; None if it does not run or has none."""
        ...

    def kill(self) -> None:
        """Send SIGKILL, and return when it is gone. Blocks."""
        ...

    def start(self) -> None:
        """Start it; return when it answers. Without effect where a server starts it. Blocks."""
        ...

    def pause(self) -> None:
        """Send SIGSTOP, and return when it stands still. Blocks."""
        ...

    def resume(self) -> None:
        """Send SIGCONT."""
        ...

    def close(self) -> None:
        """End it and everything that it has started. Blocks."""
        ...

    def read(self, keys: Keys) -> Snapshot:
        """Read it at one moment. Blocks; it must run, or be a file whose server stands still.

        Raises:
            NotReadable: It does not answer now.
        """
        ...

    def read_at_rest(self, keys: Keys) -> Snapshot:
        """Read it after its servers have closed it. Blocks.

        Raises:
            NotReadable: It does not answer.
        """
        ...


@runtime_checkable
class Commanded(Protocol):
    """A store with the trait `COMMANDS`."""

    def ask(self, *command: str | bytes | int) -> object:
        """Send one command; an error reply is returned as an exception object. Blocks."""
        ...


@runtime_checkable
class Clocked(Protocol):
    """A store with the traits `PROCESS` and `SHIM`."""

    def wall_s(self) -> float:
        """Return the seconds since the Unix epoch by its own clock. Blocks."""
        ...


@runtime_checkable
class Linked(Protocol):
    """A store that may have the trait `LINK`."""

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens."""
        ...

    def url_behind(self, listen: Endpoint) -> str:
        """Return its URL behind a proxy; one that listens on a socket has its name in another directory."""
        ...
