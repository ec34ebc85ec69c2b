"""A lab with a cold tier, and the archivers of its servers."""

from typing import Self

from realmkeep.config import ArchiveConfig
from realmkeep.keeping import Hooks, Keeper, Session
from realmkeep.operations.archive.archiver import ColdArchiver
from realmkeep.records import IMMEDIATE, Record, durable, load
from realmkeep.storage.cold import ColdRow, MemoryColdStore
from realmkeep.testing.lab import Lab

OLD_S = 400.0  # longer than the least age of a frozen record


class Nomad(Record, kind="nomad", version=1):
    gold: int = durable(default=0, ge=0, tier=IMMEDIATE, ranked="nomad_gold")
    xp: int = durable(default=0)
    note: str = durable(default="")


HOOKS = Hooks()


@HOOKS.on_letter(Nomad)
def receive(nomad: Nomad, letter: int) -> None:
    nomad.gold += letter


class Rig:
    """Args: as `Lab`."""

    def __init__(self, cold: MemoryColdStore | None = None, *, loss_window_s: float | None = 0.0) -> None:
        self.cold = cold or MemoryColdStore()
        self.config = ArchiveConfig(freeze_kinds="nomad")
        self.lab = Lab("a", cold=self.cold, hooks=HOOKS, loss_window_s=loss_window_s)
        self.archivers: dict[str, ColdArchiver] = {}

    async def __aenter__(self) -> Self:
        await self.lab.__aenter__()
        self.archive(self.lab.keeper)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.lab.__aexit__(*error)

    def archive(self, keeper: Keeper) -> ColdArchiver:
        made = self.archivers[keeper.name] = ColdArchiver(keeper, self.cold, self.config)
        return made

    async def server(self, name: str) -> Keeper:
        keeper = await self.lab.server(name)
        self.archive(keeper)
        return keeper

    @property
    def a(self) -> ColdArchiver:
        return self.archivers["a"]

    async def nomad(self, id: int, gold: int = 100, *, at: Keeper | None = None) -> Session[Nomad]:  # noqa: A002
        return await (at or self.lab.keeper).login(Nomad, id, create=lambda: Nomad(gold=gold))

    def session(self, id: int) -> Session[Nomad]:  # noqa: A002
        found = self.lab.keeper.session(Nomad, id)
        assert found is not None
        return found

    async def ship(self, name: str = "a") -> bool:
        return await self.lab.finish(self.archivers[name].shipper.ship())

    async def freeze(self, *ids: int) -> int:
        """Release, age, ship and freeze; the number of frozen records."""
        for id_ in ids:
            session = self.lab.keeper.session(Nomad, id_)
            if session is not None:
                await self.lab.finish(session.release())
        await self.ship()
        await self.lab.advance(OLD_S)
        return (await self.lab.finish(self.a.freezer.freeze([f"nomad:{id_}" for id_ in ids]))).frozen

    async def row(self, id: int) -> ColdRow | None:  # noqa: A002
        (found,) = await self.cold.rows([f"nomad:{id}"])
        return found

    async def gold(self, id: int) -> int | None:  # noqa: A002
        """As the cold tier has it."""
        row = await self.row(id)
        if row is None or row.body is None:
            return None
        return load(row.body, Nomad).require().gold


def pay(giver: Nomad, taker: Nomad) -> int:
    giver.gold -= 10
    taker.gold += 10
    return giver.gold
