import pytest

from keeping.game import Guild
from realmkeep.config import RecordsConfig
from realmkeep.errors import Quarantined, RecordTooLarge
from realmkeep.keeping import Keeper
from realmkeep.keeping.unowned_records import new_record
from realmkeep.storage import Put
from realmkeep.testing.lab import Lab


async def test_the_keeper_s_unowned_records_are_created_read_and_replaced(keeper: Keeper) -> None:
    unowned = keeper.unowned(Guild)
    assert await unowned.get(7) is None
    assert await unowned.create(7, Guild())
    assert not await unowned.create(7, Guild())
    found = await unowned.get(7)
    assert found is not None
    found.record.gold += 5
    assert await unowned.replace(7, found, found.record)
    again = await unowned.get(7)
    assert again is not None
    assert again.record.gold == 5
    assert not await unowned.replace(7, found, Guild()), "somebody replaced it since it was read"


async def test_an_unowned_record_is_written_as_the_store_is_configured() -> None:
    async with Lab(records=RecordsConfig(codec="sexpr")) as lab:
        assert await lab.keeper.unowned(Guild).create(7, Guild())
        stored = lab.store.value("guild:7")
        assert stored is not None
        assert stored.startswith(b"(:version 1 ")


async def test_unowned_records_have_the_caps_of_the_store_s_configuration() -> None:
    async with Lab(records=RecordsConfig(bytes_max=1024)) as lab:
        with pytest.raises(RecordTooLarge):
            await lab.keeper.unowned(Guild).create(7, Guild(motto="m" * 2000))


@pytest.mark.parametrize("accepted", [True, False])
async def test_unowned_records_are_read_from_an_imported_store_if_that_is_configured(accepted: bool) -> None:
    async with Lab(records=RecordsConfig(accept_unchecked=accepted)) as lab:
        await lab.line().save("guild:7", b'{"version":1,"gold":5,"motto":""}')
        read = lab.keeper.unowned(Guild).get(7)
        if accepted:
            found = await read
            assert found is not None
            assert found.record.gold == 5
        else:
            with pytest.raises(Quarantined):
                await read


async def test_a_new_record_is_written_as_the_store_is_configured() -> None:
    (_, _, record, *_) = new_record(Guild(), 7, now_us=5, records=RecordsConfig(codec="sexpr"))
    assert isinstance(record, Put)
    assert record.value.startswith(b"(:version 1 ")
    with pytest.raises(RecordTooLarge):
        new_record(Guild(motto="m" * 2000), 7, now_us=5, records=RecordsConfig(bytes_max=1024))
