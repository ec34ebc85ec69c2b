from keeping.game import Guild
from realmkeep.config import RecordsConfig
from realmkeep.keeping import Keeper
from realmkeep.testing.lab import Lab


async def test_a_shelf_of_the_keeper_makes_reads_and_replaces_what_nobody_owns(keeper: Keeper) -> None:
    shelf = keeper.shelf(Guild)
    assert await shelf.get(7) is None
    assert await shelf.create(7, Guild())
    assert not await shelf.create(7, Guild())
    shelved = await shelf.get(7)
    assert shelved is not None
    shelved.record.gold += 5
    assert await shelf.replace(7, shelved, shelved.record)
    again = await shelf.get(7)
    assert again is not None
    assert again.record.gold == 5
    assert not await shelf.replace(7, shelved, Guild()), "somebody replaced it since it was read"


async def test_a_shelf_writes_as_the_store_is_configured() -> None:
    async with Lab(records=RecordsConfig(codec="sexpr")) as lab:
        assert await lab.keeper.shelf(Guild).create(7, Guild())
        stored = lab.store.value("guild:7")
        assert stored is not None
        assert stored.startswith(b"(:version 1 ")
