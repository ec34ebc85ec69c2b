"""A store that runs already: the drill reads it and breaks the connections to it, and cannot break its process."""

from pathlib import Path

from realmkeep.drill.checks.contents import Keys, Snapshot, delete_keys, read_storage
from realmkeep.drill.link import Endpoint
from realmkeep.drill.stores.reach import reach_of
from realmkeep.drill.stores.store import Trait
from realmkeep.errors import ConfigError


class ExternalStore:
    """A store that several servers can share, at a URL.

    Args:
        url: Its URL.
        lossless: Whether it syncs to disk before it answers.

    Raises:
        ConfigError: The URL is malformed.
    """

    def __init__(self, url: str, *, lossless: bool) -> None:
        self.url = url
        self.directory = Path()
        self._reach = reach_of(url)
        self._written = Keys((), ())
        traits = {Trait.SHARED: True, Trait.LOSSLESS: lossless, Trait.LINK: self._reach is not None}
        self.traits = frozenset(trait for trait, has in traits.items() if has)

    @property
    def endpoint(self) -> Endpoint:
        """Where it listens, if it has the trait `LINK`."""
        assert self._reach is not None
        return self._reach.endpoint

    def url_behind(self, listen: Endpoint) -> str:
        """Return its URL behind a proxy, if it has the trait `LINK`."""
        assert self._reach is not None
        return self._reach.url_behind(listen)

    def pid(self) -> int | None:
        """Return None: its process is not the drill's."""
        return None

    def kill(self) -> None:
        """Do nothing: no fault that needs its process happens."""

    def start(self) -> None:
        """Do nothing: it runs."""

    def pause(self) -> None:
        """Do nothing: no fault that needs its process happens."""

    def resume(self) -> None:
        """Do nothing: no fault that needs its process happens."""

    def close(self) -> None:
        """Delete the records of the drill, which its next realm makes anew; the store goes on."""
        delete_keys(self._written, self.url)

    def read(self, keys: Keys) -> Snapshot:
        """Read it at one moment."""
        return read_storage(keys, self.url)

    def read_at_rest(self, keys: Keys) -> Snapshot:
        """Read it as at any time."""
        return self.read(keys)

    def check_empty(self, keys: Keys) -> None:
        """Refuse a store that has a record with a key of the drill's game; else they are the drill's, and deleted at its end.

        Raises:
            ConfigError: It has one.
        """
        found = self.read(keys)
        taken = [key for key in keys.values if found.value(key) is not None]
        taken += [key for key in keys.lists if found.entries(key)]
        if taken:
            raise ConfigError(
                f"the store has the key {taken[0]} already, and a drill writes and breaks such records",
                hint="give the drill an empty database of its own",
            )
        self._written = keys
