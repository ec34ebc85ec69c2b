"""A SQLite file: its process is the server."""

from pathlib import Path
from typing import Final

from realmkeep.drill.checks.contents import Keys, Snapshot, read_sqlite
from realmkeep.drill.stores.store import Trait

TRAITS: Final = frozenset({Trait.OWN, Trait.DIRECTORY, Trait.LOSSLESS, Trait.SHIM})


class SqliteStore:
    """The file of one directory."""

    def __init__(self, directory: Path) -> None:
        self.traits = TRAITS
        directory.chmod(0o700)
        self.directory = directory

    @property
    def url(self) -> str:
        """The URL for its server."""
        return f"sqlite:///{self.file}"

    @property
    def file(self) -> Path:
        """The file."""
        return self.directory / "realm.db"

    def pid(self) -> int | None:
        """Return None: it has no process of its own."""
        return None

    def kill(self) -> None:
        """Do nothing: it has no process."""

    def start(self) -> None:
        """Do nothing: its server opens it."""

    def pause(self) -> None:
        """Do nothing: it has no process."""

    def resume(self) -> None:
        """Do nothing: it has no process."""

    def close(self) -> None:
        """Do nothing: its server closes it."""

    def read(self, keys: Keys) -> Snapshot:
        """Read a copy; its server must stand still."""
        return read_sqlite(keys, self.file)

    def read_at_rest(self, keys: Keys) -> Snapshot:
        """Read it as at any time."""
        return self.read(keys)
