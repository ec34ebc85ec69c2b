"""Faults of the cold tier: play goes on, and every server says that the archive is behind."""

import asyncio

from realmkeep.drill.checks import Stuck
from realmkeep.drill.faults.fault import Fault, Harm, registered
from realmkeep.drill.faults.stores import until
from realmkeep.drill.stores.store import Trait
from realmkeep.testing.postgres_server import PostgresServer

BEHIND = "archive is behind"


class _OfArchive(Fault):
    harm = Harm.ARCHIVE
    needs = frozenset({Trait.ARCHIVE})
    lasting = True

    @property
    def archive(self) -> PostgresServer:
        found = self.realm.archive
        assert found is not None  # the trait says so
        return found

    async def until_behind(self, *, expected: bool) -> None:
        """Return when every server says that the cold tier is behind, or that it is not.

        Raises:
            Stuck: One does not.
        """
        for name in [*self.realm.lines]:

            async def says(name: str = name) -> bool:
                return any(BEHIND in each for each in await self.realm.degraded(name)) is expected

            await until(self, says, f"{name} says whether its archive is behind")


@registered
class ArchiveKill(_OfArchive):
    """A cut that was under way happened wholly, or not at all."""

    name = "archive-kill"
    what = "the PostgreSQL of the cold tier is killed (SIGKILL), and started again once every server says so"

    async def begin(self) -> None:
        """Kill it."""
        await asyncio.to_thread(self.archive.kill)
        await self.until_behind(expected=True)
        self.saw("the archive was killed, and every server said so while it played on")

    async def end(self) -> None:
        """Start it again."""
        try:
            await asyncio.to_thread(self.archive.start)
        except TimeoutError as error:
            raise Stuck(f"the archive does not start: {error}") from error
        await self.until_behind(expected=False)


@registered
class ArchivePause(_OfArchive):
    """A cut without an answer is written once more."""

    name = "archive-pause"
    what = "the PostgreSQL of the cold tier is stopped (SIGSTOP) until every server says so"

    async def begin(self) -> None:
        """Stop it."""
        await asyncio.to_thread(self.archive.pause)
        await self.until_behind(expected=True)
        self.saw("the archive was stopped, and every server said so while it played on")

    async def end(self) -> None:
        """Wake it up."""
        await asyncio.to_thread(self.archive.resume)
        await self.until_behind(expected=False)
